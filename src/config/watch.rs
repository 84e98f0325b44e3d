//! Notices that the configuration on disk is another one, whichever way it got there: written in place, replaced, or
//! as Kubernetes swaps a whole volume behind a symbolic link. It reads and compares; when to look, and what to do with
//! what was found, is the caller's business.

use std::path::PathBuf;

use super::{Config, load};
use crate::looks::Looks;

/// What a look found that was not known before.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Another configuration.
    Config(Box<Config>),
    /// The file, or one that it names, is wrong; how.
    Wrong(String),
    /// The file was wrong, and is as it was before that.
    WellAgain,
}

/// The configuration file, as it was told last.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    /// The last configuration that was told.
    config: Config,
    looks: Looks<Result<Config, String>>,
}

impl Watch {
    /// Watches the file at `path`, which was read as `config` already.
    #[must_use]
    pub fn new(path: PathBuf, config: Config) -> Self {
        let looks = Looks::new(Ok(config.clone()));
        Self { path, config, looks }
    }

    /// Reads the file, and the files that it names. `Some` if that is not what was told last, and was the same in two
    /// looks in a row. Each state is told once.
    ///
    /// What a token file holds is no change, because it is read anew whenever it is needed; that it cannot be read is
    /// one.
    pub fn look(&mut self) -> Option<Change> {
        let read = self.read();
        if !self.looks.is_news(read) {
            return None;
        }
        Some(match self.looks.told().clone() {
            Err(wrong) => Change::Wrong(wrong),
            Ok(config) if config == self.config => Change::WellAgain,
            Ok(config) => {
                self.config = config.clone();
                Change::Config(Box::new(config))
            }
        })
    }

    /// Reads the file for somebody who asked for it, changed or not.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn reread(&mut self) -> Result<Config, String> {
        let read = self.read();
        self.looks.tell(read.clone());
        self.config = read?;
        Ok(self.config.clone())
    }

    fn read(&self) -> Result<Config, String> {
        load(&self.path).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(max: u32) -> String {
        format!(
            "[global]\nk3s-url = https://k3s:6443\nk3s-token = join\n\n[nodegroup \"a\"]\nslicer-url = http://a:8080\n\
             slicer-token = t\nmax-size = {max}\n"
        )
    }

    fn max(change: Option<Change>) -> Option<u32> {
        match change? {
            Change::Config(config) => Some(config.groups[0].spec.limits.max),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_change_is_told_once_and_only_after_it_has_stayed_for_two_looks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cloud-config");
        std::fs::write(&path, text(3)).unwrap();
        let mut watch = Watch::new(path.clone(), load(&path).unwrap());
        assert_eq!(watch.look(), None);

        std::fs::write(&path, text(4)).unwrap();
        assert_eq!(watch.look(), None, "it may be half written");
        std::fs::write(&path, text(5)).unwrap();
        assert_eq!(watch.look(), None, "it is another one again");
        assert_eq!(max(watch.look()), Some(5));
        assert_eq!(watch.look(), None);

        std::fs::write(&path, "nonsense").unwrap();
        assert_eq!(watch.look(), None);
        let refusal = watch.look();
        assert!(
            matches!(&refusal, Some(Change::Wrong(what)) if what.contains("cloud-config")),
            "{refusal:?}"
        );
        assert_eq!(watch.look(), None, "a refusal is told once");

        std::fs::write(&path, text(5)).unwrap();
        assert_eq!(watch.look(), None);
        assert_eq!(watch.look(), Some(Change::WellAgain), "nothing is to be taken over");
    }

    #[test]
    fn a_change_for_a_moment_is_not_told_and_rereading_tells_always() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cloud-config");
        std::fs::write(&path, text(3)).unwrap();
        let mut watch = Watch::new(path.clone(), load(&path).unwrap());
        std::fs::write(&path, "").unwrap();
        assert_eq!(watch.look(), None);
        std::fs::write(&path, text(3)).unwrap();
        assert_eq!(watch.look(), None);
        assert_eq!(watch.look(), None);
        assert_eq!(watch.reread().unwrap().groups[0].spec.limits.max, 3);
    }

    #[test]
    fn a_volume_that_is_swapped_behind_a_link_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let volume = |name: &str, max| {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("cloud-config"), text(max)).unwrap();
        };
        volume("..1", 3);
        volume("..2", 4);
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, dir.path().join(name)).unwrap();
        link("..1", "..data");
        link("..data/cloud-config", "cloud-config");
        let path = dir.path().join("cloud-config");
        let mut watch = Watch::new(path.clone(), load(&path).unwrap());

        link("..2", "..data_tmp");
        std::fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
        assert_eq!(watch.look(), None);
        assert_eq!(max(watch.look()), Some(4));
    }
}
