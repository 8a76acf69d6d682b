// SPDX-License-Identifier: MPL-2.0
//! The errors about keys and other credentials, which show none of them.

use super::*;

#[test]
fn the_key_is_wrong_or_missing() {
    let server = with(|options| {
        options.api_key = Some("right".into());
        options.forbidden_key = Some(format!("{SECRET}-forbidden"));
    });
    let url = server.url();
    use gst::ResourceError::NotAuthorized;
    let details = check(
        &url,
        &format!("api-key={SECRET}"),
        NotAuthorized,
        "DASHSCOPE_API_KEY",
    );
    assert_eq!(details.get::<u32>("http-status").unwrap(), 401);
    assert_eq!(details.get::<String>("code").unwrap(), "InvalidApiKey");
    assert!(!details.get::<bool>("retryable").unwrap());
    check(&url, "", NotAuthorized, "API key");
    let details = check(
        &url,
        &format!("api-key={SECRET}-forbidden"),
        NotAuthorized,
        "permission",
    );
    assert_eq!(details.get::<u32>("http-status").unwrap(), 403);
    check("null", "url=\"\"", NotAuthorized, "DASHSCOPE_API_KEY");
    check(
        &url,
        "api-key-file=/nonexistent",
        NotAuthorized,
        "api-key-file",
    );
    let connections = server.connections();
    let file = TempFile::new("key");
    std::fs::write(&file.0, "right\n").unwrap();
    let mut rig = Rig::new(
        16_000,
        &url,
        &format!("max-speed=100 api-key-file={}", file.0.display()),
    );
    rig.run(Speech::usual(16_000).buffers(&[320], 0));
    assert_eq!(server.connections(), connections + 1);
}

#[test]
fn a_new_key_in_the_file_counts_from_the_next_connection_on() {
    let server = with(|_| {});
    let file = TempFile::new("key");
    let keys = ["sk-aaaaaaaa", "sk-bbbbbbbb"];
    std::fs::write(&file.0, keys[0]).unwrap();
    let properties = format!("max-speed=100 api-key-file={}", file.0.display());
    let mut rig = Rig::new(16_000, &server.url(), &properties);
    rig.play();
    let mut buffers = Speech::usual(16_000).buffers(&[320], 0).into_iter();
    rig.push_all(buffers.by_ref().take(100));
    rig.wait_for_state("connected");
    std::fs::write(&file.0, keys[1]).unwrap();
    server.kill_connections();
    rig.wait_for_state("reconnecting");
    // And one that cannot be used does not replace one that was.
    rig.wait_for_state("connected");
    std::fs::write(&file.0, "").unwrap();
    server.kill_connections();
    rig.wait_for_state("connected");
    rig.push_all(buffers);
    rig.push_eos();
    rig.wait_for_eos();
    assert_eq!(rig.heard(), Speech::usual(16_000).numbers());
    let sessions = server.sessions();
    let used: Vec<_> = sessions
        .iter()
        .map(|session| session.header("authorization"))
        .collect();
    let bearer = |key: &str| format!("Bearer {key}");
    let expected = [keys[0], keys[1], keys[1]].map(bearer);
    assert_eq!(used, expected.each_ref().map(|key| Some(key.as_str())));
}

#[test]
fn a_key_file_that_gives_no_key_is_named() {
    let server = with(|_| {});
    let fifo = TempFile::new("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo.0).status();
    assert!(made.unwrap().success());
    let fifo = fifo.0.to_str().unwrap();
    for (file, says) in [
        (fifo, "gave no key"),
        ("/dev/zero", "neither a file nor a pipe"),
    ] {
        let properties = format!("connect-timeout=200 api-key-file={file}");
        let code = gst::ResourceError::NotAuthorized;
        let details = check(&server.url(), &properties, code, says);
        assert!(!details.get::<bool>("retryable").unwrap());
        check(&server.url(), &properties, code, file);
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_key_is_not_shown_by_halves() {
    let key = format!("{SECRET}{SECRET}{SECRET}");
    // The text is cut in the middle of it.
    let body = format!("{}{key}", "x".repeat(285));
    let answer = format!(
        "HTTP/1.1 401 No\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let url = web_server(answer.leak());
    let code = gst::ResourceError::NotAuthorized;
    let (error, details) = failure(&url, &format!("api-key={key}"));
    assert_eq!(error.kind::<gst::ResourceError>(), Some(code));
    for text in [error.to_string(), details.to_string()] {
        assert!(!text.contains(&SECRET[..5]), "{text}");
    }
}

#[test]
fn the_server_quotes_the_key_and_we_do_not() {
    let server = with(|options| {
        let body = format!(r#"{{"code":"InvalidApiKey","message":"Incorrect key {SECRET}"}}"#);
        options.faults = Faults {
            http_status: Some((401, body)),
            ..Faults::default()
        };
    });
    for credential in [
        format!("api-key={SECRET}"),
        format!("headers=\"headers,X-Token=(string){SECRET}\""),
        format!("headers=\"headers,Authorization=(string)\\\"Bearer {SECRET}\\\"\""),
    ] {
        let code = gst::ResourceError::NotAuthorized;
        check(&server.url(), &credential, code, "***");
    }
}

#[test]
fn nor_do_warnings_of_outages_and_their_messages() {
    let words = format!("Incorrect key {SECRET}");
    let body = format!(r#"{{"code":"InvalidApiKey","message":"{words}"}}"#);
    for faults in [
        Faults {
            http_status: Some((401, body)),
            ..Faults::default()
        },
        error("InvalidApiKey", &words),
        close(1011, &words),
    ] {
        let server = with(|options| options.faults = faults.clone());
        let mut rig = Rig::new(
            16_000,
            &server.url(),
            &format!("api-key={SECRET} failure-policy=continue finish-timeout=200 max-speed=100"),
        );
        rig.run(Speech::new(16_000).say(0..30).buffers(&[320], 0));
        let said = format!("{:?} {:?}", rig.warnings, rig.messages);
        assert!(said.contains("Incorrect key ***"), "{faults:?}: {said}");
        assert!(!said.contains(SECRET), "{faults:?}");
    }
}

#[test]
fn credentials_are_not_to_be_seen() {
    let dir = std::env::temp_dir().join(format!("qwenasr-dots-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let server = with(|options| options.api_key = Some(SECRET.into()));
    let wav = Speech::usual(16_000).wav();
    // Through the application's own setting: a command line cannot keep a secret.
    const CHILD: &str = "QWENASR_TEST_SECRET";
    if let Ok(arguments) = std::env::var(CHILD) {
        let (url, wav) = arguments.split_once(' ').unwrap();
        let mut rig = Rig::launch(&format!(
            "filesrc location={wav} ! wavparse ! qwenasr name=asr max-speed=100 url={url} ! fakesink name=out sync=false"
        ));
        rig.element.set_property("api-key", SECRET);
        rig.element.set_property("context", "private-context");
        let headers = gst::Structure::builder("headers").field("X-Token", TOKEN);
        rig.element.set_property("headers", headers.build());
        for name in ["api-key", "headers"] {
            let property = rig.element.find_property(name).unwrap();
            assert!(!property.flags().contains(gst::glib::ParamFlags::READABLE));
        }
        let verbose = rig.pipeline.add_property_deep_notify_watch(None, true);
        rig.play();
        rig.wait_for_eos();
        rig.pipeline.remove_property_notify_watch(verbose);
        println!(
            "{:?} {:?}",
            rig.messages,
            rig.pipeline
                .debug_to_dot_data(gst::DebugGraphDetails::all())
        );
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "errors::keys::credentials_are_not_to_be_seen",
            "--nocapture",
        ])
        .env(CHILD, format!("{} {}", server.url(), wav.0.display()))
        .env("GST_DEBUG", "*:9")
        .env("GST_DEBUG_DUMP_DOT_DIR", &dir)
        .env("GST_DEBUG_NO_COLOR", "1")
        .finish();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("qwenasr/transcript") && text.contains("digraph"),
        "something was seen"
    );
    assert!(!text.contains(SECRET) && !text.contains(TOKEN));
    // What is said and what it is about is for TRACE only.
    let quiet: Vec<_> = text
        .lines()
        .filter(|line| line.contains(" qwenasr ") && !line.contains("TRACE"))
        .filter(|line| line.contains("w0005") || line.contains("private-context"))
        .collect();
    assert!(quiet.is_empty(), "{quiet:#?}");
    for file in std::fs::read_dir(&dir).unwrap() {
        let dot = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!dot.contains(SECRET) && !dot.contains(TOKEN));
    }
    let _ = std::fs::remove_dir_all(&dir);
    let session = &server.sessions()[0];
    let key = format!("Bearer {SECRET}");
    assert_eq!(session.header("authorization"), Some(&*key));
    assert_eq!(session.header("x-token"), Some(TOKEN));
}
