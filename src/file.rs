//! Files that people name, read without trust in what the path has come to lead to. They are read again and again, some by
//! tasks that also hear signals or answer calls: none of them may be held up.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The content of a regular file. Opening a pipe may take for ever, and it can be read only once; a device may never end.
///
/// # Errors
/// It cannot be read, is no regular file, or is longer than `most` bytes: [`io::ErrorKind::FileTooLarge`].
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    // Not by its length: that may change, and files that the kernel makes up have none.
    let read = File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(read).is_ok_and(|read| read <= most) {
        Ok(bytes)
    } else {
        let longer = format!("longer than {most} bytes");
        Err(io::Error::new(io::ErrorKind::FileTooLarge, longer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit_and_what_is_no_file_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let with = |length| {
            std::fs::write(&path, vec![b'x'; length]).unwrap();
            read(&path, 1000).map(|bytes| bytes.len()).map_err(|error| error.kind())
        };
        assert_eq!(with(1000), Ok(1000));
        assert_eq!(with(1001), Err(io::ErrorKind::FileTooLarge));
        for other in ["/dev/zero", "/dev", "/nowhere"] {
            assert!(read(Path::new(other), 1000).is_err(), "{other}");
        }
    }

    #[test]
    fn a_pipe_that_nobody_writes_to_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        assert_eq!(read(&pipe, 1000).unwrap_err().to_string(), "not a regular file");
    }
}
