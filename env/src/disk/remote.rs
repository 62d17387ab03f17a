//! A disk that is a folder of an object store: S3, Google's, Azure's, whatever the `object_store` crate can name by URL.
//!
//! Credentials and addresses come from the environment, under the names that the vendors' own tools use
//! (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, ...). A store that does not answer is given up after about ten seconds, so that
//! the node can write elsewhere.

use super::{Answer, Op};
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectStore, ObjectStoreExt, ObjectStoreScheme, PutPayload, RetryConfig,
};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// A file up to this many bytes is one request, a larger one is uploaded in parts of them.
const PART: usize = 8 << 20;
/// Parts of a file on their way at the same time.
const PARALLEL: usize = 4;
/// A request is given up after so long, and so is repeating it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A folder of an object store. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    url: Arc<str>,
    store: Arc<dyn ObjectStore>,
    folder: Path,
}

impl Remote {
    /// Nothing is asked of the store yet.
    ///
    /// # Errors
    /// The URL names no object store, or what is needed to reach it is not in the environment.
    pub fn open(url: &str) -> Result<Self, String> {
        let parsed = url::Url::parse(url).map_err(|why| format!("{url}: {why}"))?;
        let (scheme, folder) = ObjectStoreScheme::parse(&parsed).map_err(|why| format!("{url}: {why}"))?;
        let store = store(scheme, url).map_err(|why| format!("{url}: {why}"))?;
        Ok(Self { url: url.into(), store, folder })
    }

    fn path(&self, path: &str) -> Path {
        Path::from_iter(self.folder.parts().chain(Path::from(path).parts()))
    }

    fn failed(&self, path: &str, why: Error) -> io::Error {
        let kind = match &why {
            Error::NotFound { .. } => io::ErrorKind::NotFound,
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => io::ErrorKind::PermissionDenied,
            Error::AlreadyExists { .. } => io::ErrorKind::AlreadyExists,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, format!("{}/{path}: {why}", self.url))
    }

    pub async fn run(&self, path: &str, op: Op) -> io::Result<Answer> {
        self.answer(path, op).await.map_err(|why| self.failed(path, why))
    }

    async fn answer(&self, path: &str, op: Op) -> object_store::Result<Answer> {
        let at = self.path(path);
        match op {
            Op::Write(bytes) => self.store.put(&at, PutPayload::from(bytes)).await.map(|_| Answer::Done),
            // An object is replaced as a whole.
            Op::Append(bytes) | Op::AppendDurably(bytes) => {
                let mut whole = match self.store.get(&at).await {
                    Ok(found) => found.bytes().await?.to_vec(),
                    Err(Error::NotFound { .. }) => Vec::new(),
                    Err(why) => return Err(why),
                };
                whole.extend_from_slice(&bytes);
                self.store.put(&at, PutPayload::from(whole)).await.map(|_| Answer::Done)
            }
            // What the store has taken is durable.
            Op::Sync => Ok(Answer::Done),
            Op::Read { offset, len } => self.read(&at, offset, len).await.map(Answer::Bytes),
            Op::Len => self.store.head(&at).await.map(|meta| Answer::Len(meta.size)),
            Op::Written => self.store.head(&at).await.map(|meta| Answer::Written(meta.last_modified.timestamp())),
            Op::Remove => self.remove(&at).await.map(|()| Answer::Done),
            Op::List => self.list(path).await.map(Answer::Paths),
            Op::Rename(to) => {
                self.store.copy(&at, &self.path(&to)).await?;
                self.remove(&at).await.map(|()| Answer::Done)
            }
        }
    }

    /// A range that begins behind the end is refused by a store; of a disk it is empty.
    async fn read(&self, at: &Path, offset: u64, len: u64) -> object_store::Result<Bytes> {
        match self.store.get_range(at, offset..offset.saturating_add(len)).await {
            Err(why @ Error::Generic { .. }) => match self.store.head(at).await?.size {
                size if offset >= size => Ok(Bytes::new()),
                _ => Err(why),
            },
            answer => answer,
        }
    }

    async fn remove(&self, at: &Path) -> object_store::Result<()> {
        match self.store.delete(at).await {
            Err(Error::NotFound { .. }) => Ok(()),
            answer => answer,
        }
    }

    async fn list(&self, prefix: &str) -> object_store::Result<Vec<String>> {
        let found: Vec<_> = self.store.list(Some(&self.folder)).try_collect().await?;
        let names = found.iter().filter_map(|meta| meta.location.prefix_match(&self.folder));
        let names = names.map(|parts| parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"));
        let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
        names.sort();
        Ok(names)
    }

    /// A file that appears when it is [finished](Upload::finish).
    pub fn upload(&self, path: &str) -> Upload {
        let writer = BufWriter::with_capacity(self.store.clone(), self.path(path), PART);
        Upload { remote: self.clone(), path: path.to_owned(), writer: writer.with_max_concurrency(PARALLEL) }
    }

    /// The names of the folders in this one that begin with `prefix`.
    pub async fn folders(&self, prefix: &str) -> io::Result<Vec<String>> {
        let found = self.store.list_with_delimiter(Some(&self.folder)).await;
        let found = found.map_err(|why| self.failed(prefix, why))?;
        let names = found.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned));
        let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
        names.sort();
        Ok(names)
    }
}

/// A file on its way into the store.
pub(crate) struct Upload {
    remote: Remote,
    path: String,
    writer: BufWriter,
}

impl Upload {
    pub async fn append(&mut self, bytes: Bytes) -> io::Result<()> {
        let answer = self.writer.put(bytes).await;
        answer.map_err(|why| self.remote.failed(&self.path, why))
    }

    pub async fn finish(mut self) -> io::Result<()> {
        let finished = self.writer.shutdown().await;
        if finished.is_err() {
            // Parts that no upload is waiting for would be paid for; what is said is why the file is not there.
            let _ = self.writer.abort().await;
        }
        finished
    }
}

fn store(scheme: ObjectStoreScheme, url: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
    use object_store::{aws::AmazonS3Builder, azure::MicrosoftAzureBuilder, gcp::GoogleCloudStorageBuilder};
    let retry = || RetryConfig { max_retries: 5, retry_timeout: PATIENCE, backoff: BackoffConfig::default() };
    let timeouts = ClientOptions::new().with_timeout(PATIENCE).with_connect_timeout(PATIENCE / 2);
    Ok(match scheme {
        ObjectStoreScheme::AmazonS3 => {
            // A server of one's own has no certificate; it takes an explicit word in the environment to go there.
            let plain = std::env::var("AWS_ALLOW_HTTP").is_ok_and(|word| word == "true");
            let builder = AmazonS3Builder::from_env().with_client_options(timeouts.with_allow_http(plain));
            Arc::new(builder.with_url(url).with_retry(retry()).build()?)
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            let builder = GoogleCloudStorageBuilder::from_env().with_client_options(timeouts);
            Arc::new(builder.with_url(url).with_retry(retry()).build()?)
        }
        ObjectStoreScheme::MicrosoftAzure => {
            let builder = MicrosoftAzureBuilder::from_env().with_client_options(timeouts);
            Arc::new(builder.with_url(url).with_retry(retry()).build()?)
        }
        other => {
            let message = format!("{other:?} is no store to spill to; there are s3://, gs:// and az://");
            return Err(Error::NotSupported { source: message.into() });
        }
    })
}
