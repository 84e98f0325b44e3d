//! `[global]`: text becomes [`GlobalConfig`].

use std::io::ErrorKind;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

use super::error::{Fault, shown};
use super::keys;
use super::paths::Paths;
use super::section::{SectionReader, Setting};
use super::token::{self, TokenKeys};
use super::{GlobalConfig, address, value};
use crate::domain::ids::ClusterId;
use crate::domain::spec::{JoinSettings, K3sVersion};
use crate::file;

const TOKEN: TokenKeys = TokenKeys {
    value: keys::K3S_TOKEN,
    file: keys::K3S_TOKEN_FILE,
    check: token::check_k3s,
};

const DEFAULT_CHANNEL: &str = "stable";
const DEFAULT_INSTALL_URL: &str = "https://get.k3s.io";

/// Largest bundle of certificates that is read, in bytes. The public web's whole set has a quarter of it.
const LARGEST_BUNDLE: u64 = 1024 * 1024;

/// Reads the section; `None` if anything that has no default is missing or wrong.
pub(super) fn read(reader: &mut SectionReader<'_>, paths: &Paths) -> Option<GlobalConfig> {
    let k3s_url = reader.required(&keys::K3S_URL, address::k3s_url);
    let token = token::read(reader, &TOKEN, paths);
    if matches!(token, Setting::Absent) {
        reader.missing(&keys::K3S_TOKEN, "k3s-token or k3s-token-file");
    }
    let ca_bundle = reader.optional(&keys::CA_BUNDLE, |text| ca_bundle(text, paths));
    let cluster = reader.read(&keys::CLUSTER_NAME, value::domain::<ClusterId>);
    let version = reader.optional(&keys::K3S_VERSION, k3s_version);
    let channel = reader.optional(&keys::K3S_CHANNEL, k3s_channel);
    let install_url = reader.optional(&keys::K3S_INSTALL_URL, address::installer);
    let artifact_url = reader.optional(&keys::K3S_ARTIFACT_URL, address::mirror);

    let k3s_url = k3s_url?;
    Some(GlobalConfig {
        cluster: cluster.given().or_else(|| derived_cluster(&k3s_url))?,
        join: JoinSettings {
            k3s_url,
            version: version.unwrap_or(K3sVersion::Server),
            channel: channel.unwrap_or_else(|| DEFAULT_CHANNEL.to_owned()),
            install_url: install_url.unwrap_or_else(|| DEFAULT_INSTALL_URL.to_owned()),
            artifact_url,
        },
        k3s_token: token.given()?,
        ca_bundle,
    })
}

/// `k3s-` and eight hex digits of the server's address: stable as long as the cluster keeps its address.
fn derived_cluster(k3s_url: &str) -> Option<ClusterId> {
    let digest = Sha256::digest(k3s_url.as_bytes());
    let hex: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("k3s-{hex}").parse().ok()
}

/// `server`, or a tag such as `v1.33.6+k3s1` or `v1.34.0-rc1+k3s1`.
fn k3s_version(text: &str) -> Result<K3sVersion, Fault> {
    if text == "server" {
        return Ok(K3sVersion::Server);
    }
    if !is_k3s_tag(text) {
        return Err(Fault::of(
            text,
            "is not a version of K3s",
            "server or an exact tag such as v1.33.6+k3s1",
        ));
    }
    Ok(K3sVersion::Exact(text.to_owned()))
}

fn is_k3s_tag(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let Some((kubernetes, k3s)) = text.strip_prefix('v').and_then(|tag| tag.split_once("+k3s")) else {
        return false;
    };
    let (numbers, pre_release) = match kubernetes.split_once('-') {
        Some((numbers, pre_release)) => (numbers, Some(pre_release)),
        None => (kubernetes, None),
    };
    let pre_release_ok = pre_release.is_none_or(|text| {
        !text.is_empty()
            && text
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'.')
    });
    is_number(k3s) && numbers.split('.').count() == 3 && numbers.split('.').all(is_number) && pre_release_ok
}

fn k3s_channel(text: &str) -> Result<String, Fault> {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'.' || c == b'-';
    if text.is_empty() || !text.bytes().all(allowed) {
        return Err(Fault::of(
            text,
            "is not a channel of K3s",
            "stable, latest or one such as v1.33",
        ));
    }
    Ok(text.to_owned())
}

/// Reads the bundle now, so that a wrong one is noticed before the first connection.
fn ca_bundle(text: &str, paths: &Paths) -> Result<Vec<u8>, Fault> {
    let pem = file::read(&paths.resolve(text)?, LARGEST_BUNDLE).map_err(|error| no_bundle(text, &error))?;
    check_certificates(&pem).map_err(|what| Fault::of(text, &what, "a PEM file with at least one certificate"))?;
    Ok(pem)
}

fn no_bundle(text: &str, error: &std::io::Error) -> Fault {
    if error.kind() == ErrorKind::FileTooLarge {
        let expected = format_args!("a PEM file of at most {LARGEST_BUNDLE} bytes");
        return Fault::of(text, "is too large", expected);
    }
    let path = shown(text);
    Fault::new(format!(
        "{path} cannot be read ({error}); expected a PEM file of certificates"
    ))
}

fn check_certificates(pem: &[u8]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let number = index + 1;
        let certificate = certificate.map_err(|error| format!("is not PEM ({error})"))?;
        let added = roots.add(certificate);
        added.map_err(|error| format!("has a certificate, number {number}, that cannot be used ({error})"))?;
    }
    if roots.is_empty() {
        return Err("holds no certificate".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_the_servers_or_an_exact_tag() {
        assert_eq!(k3s_version("server"), Ok(K3sVersion::Server));
        for good in ["v1.33.6+k3s1", "v1.34.0-rc1+k3s12", "v1.34.0-rc.1+k3s1"] {
            assert_eq!(k3s_version(good), Ok(K3sVersion::Exact(good.to_owned())));
        }
        for bad in [
            "1.33.6+k3s1",
            "v1.33+k3s1",
            "v1.33.6",
            "v1.33.6+k3s",
            "v1.33.6+rke2r1",
            "v1.33.6-+k3s1",
            "v1..6+k3s1",
            "v1.33.6.1+k3s1",
            "v1.33.6+k3s1 ",
            "latest",
            "v1.33.6-RC1+k3s1",
            "v1.33.6+k3s1+k3s1",
        ] {
            assert!(k3s_version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn channels_are_lower_case_words() {
        assert_eq!(k3s_channel("v1.33").unwrap(), "v1.33");
        for bad in ["", "Stable", "a b", "a/b", "$(id)"] {
            assert!(k3s_channel(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_cluster_name_comes_from_the_address_of_the_server() {
        // printf %s https://192.168.137.2:6443 | sha256sum
        let cluster = derived_cluster("https://192.168.137.2:6443").unwrap();
        assert_eq!(cluster.as_str(), "k3s-0e3c3da6");
        assert_ne!(derived_cluster("https://192.168.137.3:6443").unwrap(), cluster);
    }
}
