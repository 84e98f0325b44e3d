//! Paths as the configuration writes them: absolute, below the home folder, or relative to the configuration file.

use std::path::{Path, PathBuf};

use super::error::Fault;

/// What relative paths start from.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    /// The folder of the configuration file.
    folder: PathBuf,
    /// What `~` stands for.
    home: Option<PathBuf>,
}

impl Paths {
    /// Paths in the configuration file `file`, for the user that runs this process.
    pub(super) fn of(file: &Path) -> Self {
        Self {
            folder: file.parent().unwrap_or(Path::new("")).to_owned(),
            home: std::env::var_os("HOME")
                .filter(|home| !home.is_empty())
                .map(PathBuf::from),
        }
    }

    pub(super) fn resolve(&self, text: &str) -> Result<PathBuf, Fault> {
        match (text.strip_prefix("~/"), &self.home) {
            (Some(below), Some(home)) => Ok(home.join(below)),
            (Some(_), None) => Err(Fault::new(
                "begins with ~/, but HOME is not set; write an absolute path",
            )),
            (None, _) => Ok(self.folder.join(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_start_at_the_folder_of_the_configuration_file() {
        let paths = Paths::of(Path::new("/etc/slicer/cloud-config"));
        assert_eq!(paths.resolve("token").unwrap(), Path::new("/etc/slicer/token"));
        assert_eq!(paths.resolve("/run/token").unwrap(), Path::new("/run/token"));
        assert_eq!(
            Paths::of(Path::new("cloud-config")).resolve("token").unwrap(),
            Path::new("token")
        );
    }

    #[test]
    fn a_tilde_is_the_home_folder_and_an_error_without_one() {
        let with_home = Paths {
            folder: PathBuf::new(),
            home: Some("/home/a".into()),
        };
        assert_eq!(with_home.resolve("~/s.sock").unwrap(), Path::new("/home/a/s.sock"));
        let homeless = Paths {
            home: None,
            ..with_home
        };
        assert!(homeless.resolve("~/s.sock").is_err());
    }
}
