//! Files that are written once, from the beginning to the end.

use super::Disk;
#[cfg(not(madsim))]
use super::remote::Upload;
use bytes::Bytes;
use std::io;

/// A file that is being written; see [`Disk::create`].
pub struct FileWriter {
    disk: Disk,
    path: String,
    /// In an object store.
    #[cfg(not(madsim))]
    upload: Option<Upload>,
}

impl Disk {
    /// Begins the file `path`, which must not exist. Its content can be read when [`FileWriter::finish`] has returned;
    /// before that, some of it may be.
    ///
    /// # Errors
    /// No such path is possible on this disk.
    pub fn create(&self, path: &str) -> io::Result<FileWriter> {
        super::check_path(path)?;
        Ok(FileWriter {
            disk: self.clone(),
            path: path.to_owned(),
            #[cfg(not(madsim))]
            upload: self.remote()?.map(|remote| remote.upload(path)),
        })
    }
}

impl FileWriter {
    /// Adds to its end.
    ///
    /// # Errors
    /// The disk's. What is there of the file then is no file.
    pub async fn append(&mut self, bytes: Bytes) -> io::Result<()> {
        #[cfg(not(madsim))]
        if let Some(upload) = &mut self.upload {
            return upload.append(bytes).await;
        }
        self.disk.append(&self.path, bytes).await
    }

    /// Returns when the whole file can be read.
    ///
    /// # Errors
    /// As for [`FileWriter::append`].
    pub async fn finish(self) -> io::Result<()> {
        #[cfg(not(madsim))]
        if let Some(upload) = self.upload {
            return upload.finish().await;
        }
        Ok(())
    }
}
