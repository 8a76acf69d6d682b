// SPDX-License-Identifier: MPL-2.0
//! TLS, proxies as the environment sets them up, and headers for gateways.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Output;
use std::sync::{Arc, Mutex};

use super::common::*;
use super::launch::tool;
use gst::prelude::*;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

/// Runs a file through the element in a process with this environment.
fn caption(url: &str, environment: &[(&str, &str)]) -> Output {
    let wav = Speech::usual(16_000).wav();
    let pipeline = format!(
        "-m filesrc location={} ! wavparse ! qwenasrsink url={url} max-speed=20 connect-timeout=5000 max-retries=0",
        wav.0.display()
    );
    let mut command = tool("gst-launch-1.0");
    for name in [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ] {
        command
            .env_remove(name)
            .env_remove(name.to_ascii_lowercase());
    }
    command.envs(environment.iter().copied());
    command.args(pipeline.split_whitespace()).finish()
}

fn captioned(output: &Output) -> bool {
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains("w0066")
}

/// Copies both ways between two connections, until both ends are closed.
fn splice(a: TcpStream, b: TcpStream) {
    for (mut from, mut to) in [(a.try_clone().unwrap(), b.try_clone().unwrap()), (b, a)] {
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
    }
}

/// A TLS server for `localhost` in front of a port, and its certificate as a file.
fn tls_in_front_of(port: u16) -> (SocketAddr, TempFile) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = TempFile::new("pem");
    std::fs::write(&pem.0, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut tls) = acceptor.accept(stream).await else {
                        return;
                    };
                    let mut plain = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                        .await
                        .unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut tls, &mut plain).await;
                });
            }
        });
    });
    (address, pem)
}

#[test]
fn tls_is_verified_against_the_systems_roots() {
    let server = server(|_| {});
    let (address, pem) = tls_in_front_of(server.port());
    let trusted = [("SSL_CERT_FILE", pem.0.to_str().unwrap())];
    let url = format!("wss://localhost:{}/api-ws/v1/realtime", address.port());
    let output = caption(&url, &trusted);
    assert!(captioned(&output), "{output:?}");
    // The same without trust, with trust in somebody else, and under another name.
    let other_name = url.replace("localhost", "127.0.0.1");
    let (_, other) = tls_in_front_of(server.port());
    let other = [("SSL_CERT_FILE", other.0.to_str().unwrap())];
    for (url, environment, says) in [
        (&url, &[][..], "set SSL_CERT_FILE"),
        (
            &url,
            &other,
            &*format!("What SSL_CERT_FILE names, '{}'", other[0].1),
        ),
        (
            &other_name,
            &trusted,
            "is for localhost, and not for 127.0.0.1",
        ),
    ] {
        let output = caption(url, environment);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{url}");
        assert!(
            text.contains("TLS") && text.contains(says),
            "{says}: {text}"
        );
    }
    assert_eq!(
        server.connections(),
        1,
        "nothing is said to a server that cannot be trusted"
    );
}

#[test]
fn a_missing_certificate_file_is_named_as_the_cause() {
    let output = caption(
        "wss://localhost:1/",
        &[("SSL_CERT_FILE", "/nonexistent.pem")],
    );
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("SSL_CERT_FILE") && text.contains("ca-certificates"),
        "{text}"
    );
}

/// An HTTP proxy that tunnels everything to one port, and the first lines of what it was asked.
fn proxy_to(port: u16) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let proxy = listener.local_addr().unwrap().port();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = asked.clone();
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let head: Vec<String> = BufReader::new(client.try_clone().unwrap())
                .lines()
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .collect();
            let authorised = head.iter().any(|line| {
                line.to_ascii_lowercase()
                    .starts_with("proxy-authorization: basic")
            });
            log.lock().unwrap().push(head[0].clone());
            if !authorised {
                let _ = client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
                continue;
            }
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            splice(
                client,
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap(),
            );
        }
    });
    (proxy, asked)
}

fn hear(stream: &mut TcpStream, count: u8) -> Vec<u8> {
    let mut bytes = vec![0; count.into()];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// A SOCKS5 proxy that connects everything to one port, and the hosts that it was asked for.
fn socks_to(port: u16) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let proxy = listener.local_addr().unwrap().port();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = asked.clone();
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let methods = hear(&mut client, 2)[1];
            hear(&mut client, methods);
            client.write_all(&[5, 0]).unwrap();
            let length = hear(&mut client, 5)[4];
            let host = String::from_utf8(hear(&mut client, length)).unwrap();
            let _port = hear(&mut client, 2);
            log.lock().unwrap().push(host);
            client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
            splice(
                client,
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap(),
            );
        }
    });
    (proxy, asked)
}

/// A name that only a proxy could know.
const ELSEWHERE: &str = "ws://service.invalid:8080/api-ws/v1/realtime";

#[test]
fn proxies_are_taken_from_the_environment() {
    let server = server(|_| {});
    let (proxy, asked) = proxy_to(server.port());
    let address = format!("http://me:sec#ret@127.0.0.1:{proxy}");
    let output = caption(ELSEWHERE, &[("http_proxy", &address)]);
    assert!(captioned(&output), "{output:?}");
    let connect = "CONNECT service.invalid:8080 HTTP/1.1";
    assert_eq!(*asked.lock().unwrap(), [connect]);

    // The same through TLS.
    let (address, pem) = tls_in_front_of(proxy);
    let address = format!("https://me:sec#ret@localhost:{}", address.port());
    let trusted = ("SSL_CERT_FILE", pem.0.to_str().unwrap());
    let output = caption(ELSEWHERE, &[("ALL_PROXY", &address), trusted]);
    assert!(captioned(&output), "{output:?}");
    assert_eq!(*asked.lock().unwrap(), [connect, connect]);

    let (socks, asked_socks) = socks_to(server.port());
    let address = format!("socks5h://127.0.0.1:{socks}");
    let output = caption(ELSEWHERE, &[("ALL_PROXY", &address)]);
    assert!(captioned(&output), "{output:?}");
    assert_eq!(*asked_socks.lock().unwrap(), ["service.invalid"]);

    // Not for this machine, though nobody says so.
    let output = caption(&server.url(), &[("http_proxy", &address)]);
    assert!(captioned(&output), "{output:?}");
    assert_eq!(asked_socks.lock().unwrap().len(), 1);
}

#[test]
fn what_proxies_refuse_is_an_error_that_names_the_variable_and_no_password() {
    let (proxy, _) = proxy_to(1);
    let local = format!("http://127.0.0.1:{proxy}");
    for (value, says) in [
        (
            local.as_str(),
            &*format!("proxy 127.0.0.1:{proxy} wants a user name"),
        ),
        ("socks4://me:secret@127.0.0.1:1", "socks5"),
        ("http://me:secret@:1", "cannot be used"),
        ("http://me:secret@127.0.0.1:1", "Connection refused"),
    ] {
        let output = caption(ELSEWHERE, &[("http_proxy", value)]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{value}");
        assert!(
            text.contains(says) && text.contains("http_proxy"),
            "{value}: {text}"
        );
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn a_key_of_the_environment_does_not_leave_for_another_server_without_a_warning() {
    let server = server(|_| {});
    let (proxy, _) = socks_to(server.port());
    let proxy = format!("socks5h://127.0.0.1:{proxy}");
    let key = ("DASHSCOPE_API_KEY", "sk-6f1e5ec3e7");
    let elsewhere = format!("{ELSEWHERE} allow-insecure=true");
    for (url, warns) in [(elsewhere, true), (server.url(), false)] {
        let output = caption(&url, &[key, ("ALL_PROXY", &proxy)]);
        assert!(captioned(&output), "{output:?}");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let warned = text.contains("DASHSCOPE_API_KEY is sent to service.invalid");
        assert_eq!(warned, warns, "{url}: {text}");
        assert!(!text.contains(key.1), "{text}");
    }
}

#[test]
fn headers_of_the_user_reach_the_server() {
    let server = server(|_| {});
    // On a command line.
    let output = caption(
        &format!("{} headers=headers,X-Team=captions", server.url()),
        &[],
    );
    assert!(captioned(&output), "{output:?}");
    assert_eq!(server.sessions()[0].header("x-team"), Some("captions"));

    // In an application, where other values count from the next connection on.
    let mut rig = Rig::new(16_000, &server.url(), "max-speed=20");
    let set = |element: &gst::Element, team: &str| {
        let headers = gst::Structure::builder("headers")
            .field("X-Team", team)
            .field("X-Number", 7);
        element.set_property("headers", headers.build());
    };
    set(&rig.element, "news, weather");
    rig.play();
    let speech = Speech::usual(16_000);
    let buffers = speech.buffers(&[320], 0);
    rig.push_all(buffers[..150].iter().cloned());
    rig.wait_for_message("qwenasr/speech-stopped");
    set(&rig.element, "sports");
    rig.push_all(buffers[150..].iter().cloned());
    rig.push_eos();
    rig.wait_for_eos();
    assert_eq!(rig.heard(), speech.numbers());
    assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
    let sessions = server.sessions();
    let teams: Vec<_> = sessions[1..].iter().map(|s| s.header("x-team")).collect();
    assert_eq!(teams, [Some("news, weather"), Some("sports")]);
    assert_eq!(sessions[1].header("x-number"), Some("7"));
}
