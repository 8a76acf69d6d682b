// SPDX-License-Identifier: MPL-2.0

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    date_time_ymd,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;

const PEER: Peer<'static> = Peer {
    host: "asr.example",
    name: "asr.example:8443",
    setting: "the url property",
};
const TRUSTED: &str = "What SSL_CERT_FILE names, '/etc/ca.pem', has to hold something else.";

fn params(names: &[&str]) -> CertificateParams {
    CertificateParams::new(
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>(),
    )
    .unwrap()
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = params(&[]);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn trusting(certificate: &CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn serving(certificate: &Certificate, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let config = builder
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

/// The result of a handshake with a server that has this certificate.
async fn shake(trusted: &CertificateDer<'static>, server: TlsAcceptor) -> Result<(), Failure> {
    let (client, stream) = duplex(1 << 16);
    let server = tokio::spawn(async move { server.accept(stream).await.map(drop) });
    let result = handshake(trusting(trusted), client, PEER).await.map(drop);
    let _ = server.await.unwrap();
    result
}

#[tokio::test]
async fn certificates_that_are_not_accepted_are_explained() {
    let (ours, namesake, other) = (authority("A"), authority("A"), authority("B"));
    let good = || params(&["asr.example", "192.0.2.1"]);
    let between = |from, to| {
        let mut params = good();
        (params.not_before, params.not_after) = (from, to);
        params
    };
    let expired = between(date_time_ymd(2020, 1, 1), date_time_ymd(2024, 5, 1));
    let future = between(date_time_ymd(2999, 1, 2), date_time_ymd(3000, 1, 1));
    let odd = params(&["a.example", "192.0.2.1", "x\u{1b}[2J.example", "d.example"]);
    use Kind::*;
    for (params, issuer, kind, what, remedy) in [
        (
            expired,
            &ours,
            Settings,
            "expired on 2024-05-01.",
            "renewed",
        ),
        (
            future,
            &ours,
            Unreachable,
            "is not valid before 2999-01-02.",
            "clock",
        ),
        (
            params(&["example.org"]),
            &ours,
            Settings,
            "is for example.org, and not for asr.example.",
            "the url property",
        ),
        (
            odd,
            &ours,
            Settings,
            "is for a.example, 192.0.2.1, x[2J.example, others, and not for asr.example.",
            "subjectAltName",
        ),
        (
            params(&[]),
            &ours,
            Settings,
            "names no host, and not",
            "subjectAltName",
        ),
        (
            good(),
            &namesake,
            Settings,
            "has an issuer that is not trusted.",
            "SSL_CERT_FILE",
        ),
        (
            good(),
            &other,
            Settings,
            "has an issuer that is not trusted.",
            "SSL_CERT_FILE",
        ),
    ] {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        let result = shake(ours.der(), serving(&certificate, &key)).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        let expected = format!("The TLS certificate of asr.example:8443 {what}");
        assert!(
            error.what.to_string().starts_with(&expected),
            "{expected}: {error}"
        );
        assert!(error.remedy.contains(remedy), "{error}");
    }
    let key = KeyPair::generate().unwrap();
    let certificate = good().signed_by(&key, &ours).unwrap();
    shake(ours.der(), serving(&certificate, &key))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_certificate_that_advice_of_old_leads_to_is_explained() {
    // As `openssl req -x509` makes it: an authority's.
    let mut params = params(&["asr.example"]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let result = shake(certificate.der(), serving(&certificate, &key)).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind, Kind::Settings, "{error}");
    assert!(
        error.what.to_string().contains("certificate authority"),
        "{error}"
    );
    assert!(
        error.remedy.contains("basicConstraints=CA:FALSE"),
        "{error}"
    );
}

#[test]
fn where_trust_comes_from_is_named() {
    let error = io::Error::new(
        io::ErrorKind::InvalidData,
        Error::InvalidCertificate(CertificateError::UnknownIssuer),
    );
    assert_eq!(failure(&error, PEER, TRUSTED).remedy, TRUSTED);
}

#[tokio::test]
async fn servers_without_tls_are_told_from_networks_that_break() {
    let ours = authority("A");
    for (answer, kind, says) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            Kind::Settings,
            "speaks no TLS at this port",
        ),
        (
            b"SSH-2.0-OpenSSH_9.2\r\n",
            Kind::Settings,
            "speaks no TLS at this port",
        ),
        // protocol_version, which is fatal.
        (
            b"\x15\x03\x01\0\x02\x02\x46",
            Kind::Unreachable,
            "ProtocolVersion",
        ),
        (b"", Kind::Unreachable, "broke during the TLS handshake"),
    ] {
        let (client, mut server) = duplex(1 << 16);
        let server = tokio::spawn(async move {
            server.write_all(answer).await.unwrap();
            server.shutdown().await.unwrap();
            let _ = server.read_to_end(&mut Vec::new()).await;
        });
        let result = handshake(trusting(ours.der()), client, PEER).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.what.to_string().contains(says), "{error}");
        server.await.unwrap();
    }
}
