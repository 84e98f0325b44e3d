//! URLs and unix sockets. A faulty URL is never quoted in an error: it may hold a password.

use std::path::PathBuf;

use url::Url;

use super::error::Fault;
use super::paths::Paths;
use crate::domain::spec::Endpoint;

/// Longest path that the address of a unix socket can hold on Linux, in bytes.
const LONGEST_SOCKET_PATH: usize = 107;

/// `k3s-url`: `https://host[:port]`. K3s' installer accepts nothing but https.
pub(super) fn k3s_url(text: &str) -> Result<String, Fault> {
    const EXPECTED: &str = "https://host[:port]";
    let url = web_url(text, EXPECTED)?;
    if url.scheme() != "https" {
        return Err(Fault::new(format!(
            "is not https, K3s joins nothing else; expected {EXPECTED}"
        )));
    }
    if url.path() != "/" {
        return Err(Fault::new(format!("has a path; expected {EXPECTED}")));
    }
    no_query(&url, EXPECTED)?;
    Ok(url.origin().ascii_serialization())
}

/// `slicer-url`: a URL, or whatever Slicer's own clients take for the path of a unix socket.
pub(super) fn endpoint(text: &str, paths: &Paths) -> Result<Endpoint, Fault> {
    const EXPECTED: &str = "http(s)://host[:port][/path] or the path of a unix socket";
    if let Some(path) = socket_path(text) {
        return socket(path, paths).map(Endpoint::Unix);
    }
    let url = web_url(text, EXPECTED)?;
    no_query(&url, EXPECTED)?;
    Ok(Endpoint::Url(without_trailing_slashes(&url)))
}

fn socket_path(text: &str) -> Option<&str> {
    if let Some(path) = text.strip_prefix("unix://") {
        return Some(path);
    }
    let is_path = ["/", "./", "../", "~/"].iter().any(|start| text.starts_with(start));
    let is_socket = text.ends_with(".sock") && !text.contains("://");
    (is_path || is_socket).then_some(text)
}

fn socket(path: &str, paths: &Paths) -> Result<PathBuf, Fault> {
    if path.is_empty() || path.ends_with('/') {
        return Err(Fault::new(
            "is not the path of a unix socket; expected such as /run/slicer/slicer.sock",
        ));
    }
    let path = paths.resolve(path)?;
    if path.as_os_str().len() > LONGEST_SOCKET_PATH {
        return Err(Fault::new(format!(
            "is too long for a unix socket; expected at most {LONGEST_SOCKET_PATH} bytes"
        )));
    }
    Ok(path)
}

/// `k3s-install-url`: a URL, or the path of an installer in the VM's image.
pub(super) fn installer(text: &str) -> Result<String, Fault> {
    if text.starts_with('/') {
        return Ok(text.to_owned());
    }
    let url = web_url(text, "http(s)://host/path or an absolute path in the VM's image")?;
    if url.fragment().is_some() {
        return Err(Fault::new("has a fragment; remove the part from '#' on"));
    }
    let bare_host = url.path() == "/" && url.query().is_none();
    Ok(if bare_host {
        without_trailing_slashes(&url)
    } else {
        url.to_string()
    })
}

/// `k3s-artifact-url`: what the paths of K3s' releases are appended to.
pub(super) fn mirror(text: &str) -> Result<String, Fault> {
    const EXPECTED: &str = "http(s)://host[:port][/path]";
    let url = web_url(text, EXPECTED)?;
    no_query(&url, EXPECTED)?;
    Ok(without_trailing_slashes(&url))
}

/// An http(s) URL with a host and without credentials.
fn web_url(text: &str, expected: &str) -> Result<Url, Fault> {
    let fault = |what: String| Fault::new(format!("{what}; expected {expected}"));
    // The crate repairs what browsers repair: missing slashes, backslashes, spaces. Here they are mistakes.
    let host_follows = text
        .split_once("://")
        .is_some_and(|(_, host)| !host.starts_with(['/', '?', '#']));
    if !host_follows || text.contains(|c: char| c.is_whitespace() || c == '\\') {
        return Err(fault("is not a URL".to_owned()));
    }
    let url = Url::parse(text).map_err(|error| fault(format!("is not a URL ({error})")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(fault("is neither http nor https".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(fault(
            "holds credentials, which would end up in logs; use the token key".to_owned(),
        ));
    }
    if url.port() == Some(0) {
        return Err(fault("has port 0".to_owned()));
    }
    Ok(url)
}

fn no_query(url: &Url, expected: &str) -> Result<(), Fault> {
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Fault::new(format!("has a query or a fragment; expected {expected}")));
    }
    Ok(())
}

fn without_trailing_slashes(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn slicer(text: &str) -> Result<Endpoint, Fault> {
        endpoint(text, &Paths::of(Path::new("/etc/slicer/cloud-config")))
    }

    #[test]
    fn the_k3s_url_is_https_with_host_and_port_only() {
        for (text, url) in [
            ("https://192.168.137.2:6443", "https://192.168.137.2:6443"),
            ("https://K3S.example.com:6443/", "https://k3s.example.com:6443"),
            ("https://[fd00::1]:6443", "https://[fd00::1]:6443"),
        ] {
            assert_eq!(k3s_url(text).unwrap(), url);
        }
        for bad in [
            "http://h:6443",
            "https://h/path",
            "https://h?x",
            "https://h#x",
            "https://",
            "https:///h",
            "https:h",
            "h",
            "https://h:99999",
            "https://h:0",
            "https://a b",
            "https://h\\x",
            "ftp://h",
            "/run/k3s.sock",
        ] {
            assert!(k3s_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn credentials_in_a_url_are_refused_and_not_repeated() {
        for text in ["https://me:hunter2@h", "https://hunter2@h"] {
            let message = k3s_url(text).unwrap_err().into_message();
            assert!(
                message.contains("credentials") && !message.contains("hunter2"),
                "{message}"
            );
        }
    }

    #[test]
    fn slicer_urls_keep_their_path_but_no_trailing_slash() {
        for (text, url) in [
            ("http://192.168.138.1:8081", "http://192.168.138.1:8081"),
            ("https://slicer.example.com/", "https://slicer.example.com"),
            ("https://h:8443/slicer/a//", "https://h:8443/slicer/a"),
            ("http://h/x.sock", "http://h/x.sock"),
        ] {
            assert_eq!(slicer(text).unwrap(), Endpoint::Url(url.to_owned()));
        }
        for bad in [
            "h:8081",
            "192.168.138.1",
            "http://h?a=b",
            "http://h#a",
            "tcp://h:1",
            "http://u@h",
        ] {
            assert!(slicer(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn unix_sockets_are_told_by_their_path() {
        for (text, path) in [
            ("/run/slicer.sock", "/run/slicer.sock"),
            ("/run/slicer", "/run/slicer"),
            ("unix:///run/slicer.sock", "/run/slicer.sock"),
            ("./slicer.sock", "/etc/slicer/./slicer.sock"),
            ("../slicer.sock", "/etc/slicer/../slicer.sock"),
            ("slicer.sock", "/etc/slicer/slicer.sock"),
        ] {
            assert_eq!(slicer(text).unwrap(), Endpoint::Unix(path.into()));
        }
        for bad in ["unix://", "/run/", &format!("/{}", "x".repeat(107))] {
            assert!(slicer(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn installers_are_urls_or_absolute_paths() {
        for (text, stored) in [
            ("https://get.k3s.io", "https://get.k3s.io"),
            ("http://mirror/k3s/install.sh?v=1", "http://mirror/k3s/install.sh?v=1"),
            ("/usr/local/bin/k3s-install.sh", "/usr/local/bin/k3s-install.sh"),
        ] {
            assert_eq!(installer(text).unwrap(), stored);
        }
        for bad in ["install.sh", "file:///install.sh", "https://h/#x", "https://u:p@h/"] {
            assert!(installer(bad).is_err(), "{bad}");
        }
        assert_eq!(mirror("http://mirror:8080/k3s/").unwrap(), "http://mirror:8080/k3s");
        assert!(mirror("http://mirror/k3s?x").is_err());
    }
}
