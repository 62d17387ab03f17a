//! The cluster key: what the processes of a cluster know and nobody else does, and how a connection proves it.
//!
//! ```text
//! server -> client (40)   "mobula 1", the server's nonce (32)
//! client -> server (64)   the client's nonce (32), MAC(key, "c", port, both nonces)
//! server -> client (32)   MAC(key, "s", port, both nonces), or zeros: refused
//! ```
//! So begins every stream between nodes, those that carry calls too, before a byte of HTTP/2, of a message or of an
//! object is read: [`Env::connect`](crate::Env::connect) ends with it, and a [`Stream`] that was accepted begins with
//! it, at the first read or write. Nobody above this crate can forget it. The MAC is keyed BLAKE3, compared in
//! constant time. It is done once a connection: a call costs nothing more. On madsim calls have no connection, and
//! each shows a MAC of its own (`rpc/madsim.rs`). Without a key both sides use one that everybody knows; then nothing
//! is protected, and no port is opened beyond loopback.
//!
//! `port` is the one that the client has asked for and on which the server listens, so that a proof is good for no
//! other port: a program on the port of a process that has died cannot pass what it is asked on to one that lives.
//!
//! This is the handshake of Erlang's distribution (ERTS User's Guide, "Distribution Handshake"), with a MAC in
//! place of MD5, and with the port and fresh nonces of both sides in both digests.
//!
//! # What it protects against
//! - Who does not know the key gets no handler to run and no byte of an object: not by asking, not by replaying what
//!   others said, and not by listening on the port of a process that has died, since the server proves the key as
//!   well. The key itself is never sent; a random one cannot be found from a proof.
//! - A stranger costs a port 64 bytes and at most twice [`PATIENCE`]; who says something else than a proof is
//!   counted, and the first few and every doubling of their number are logged.
//!
//! # What it does not
//! The bytes that follow are neither encrypted nor signed (no TLS). Who can read the network reads messages and
//! objects, and may guess at a key that a person chose; who can change what is on it, or listens at the same port of
//! another machine that the cluster dials, can take over a connection after its proof. Whoever knows the key may do
//! everything.

use crate::env::{Elapsed, Env};
use crate::net::Stream;
use mobula_protocol::Nanos;
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[cfg(not(madsim))]
mod process;
#[cfg(test)]
mod tests;

/// The environment variable with the key of this process.
pub const KEY: &str = "MOBULA_KEY";

/// How long the server waits for a proof.
const PATIENCE: Nanos = Nanos::secs(1);

const MAGIC: &[u8; 8] = b"mobula 1";
const NONCE: usize = 32;
const MAC: usize = blake3::OUT_LEN;
const PORT: usize = 2;

/// What is in front of the nonces, so that no side's proof is the other's.
const CLIENT: u8 = b'c';
const SERVER: u8 = b's';

/// A secret that all processes of a cluster share. It is never printed. Both ends of every connection prove it;
/// nothing that follows is encrypted or signed. What that protects against and what not: `ARCHITECTURE.md`, "Who is
/// let in".
#[derive(Clone)]
pub struct ClusterKey {
    secret: Arc<str>,
    mac: [u8; MAC],
}

/// A text that is no [`ClusterKey`], or a file that has none to give.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It could be guessed.
    #[error("a cluster key has at least {least} bytes, this one has {0}; `openssl rand -hex 32` makes one", least = ClusterKey::SHORTEST)]
    TooShort(usize),
    /// It cannot be read as one.
    #[error("{KEY} is not text")]
    NoText,
    /// There is neither a variable nor a place for a file.
    #[error("there is no cluster key: set {KEY}, or HOME, below which a file with one can be made")]
    NoHome,
    /// Others can read the file, or have written it.
    #[error("{0} is not this user's alone: remove it, or `chown` it and `chmod 600` it")]
    Exposed(String),
    /// The file cannot be read or made.
    #[error("no cluster key: {0}; set {KEY} instead")]
    File(io::Error),
}

/// The other side of a connection has another cluster key than this process, or one of them has none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} and this process do not have the same cluster key; set {KEY} to that of its cluster")]
pub struct WrongKey(pub String);

impl ClusterKey {
    /// The least length of a secret, in bytes.
    pub const SHORTEST: usize = 16;

    /// The key with this secret, without the white space around it.
    ///
    /// # Errors
    /// It has fewer than [`ClusterKey::SHORTEST`] bytes.
    pub fn new(secret: &str) -> Result<Self, KeyError> {
        let secret = secret.trim();
        if secret.len() < Self::SHORTEST { Err(KeyError::TooShort(secret.len())) } else { Ok(Self::of(secret)) }
    }

    /// That of all machines of the simulation with this seed.
    pub(crate) fn simulated(seed: u64) -> Self {
        Self::of(&format!("the key of the simulation with the seed {seed}"))
    }

    fn of(secret: &str) -> Self {
        Self { secret: secret.into(), mac: blake3::derive_key("mobula 2026 cluster key", secret.as_bytes()) }
    }

    /// The secret, to hand it to another process of the cluster. Not on its command line, which every user can see.
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(..)")
    }
}

/// In constant time.
impl PartialEq for ClusterKey {
    fn eq(&self, other: &Self) -> bool {
        blake3::Hash::from_bytes(self.mac) == blake3::Hash::from_bytes(other.mac)
    }
}

impl Eq for ClusterKey {}

/// The MAC of `role`, the port and the nonces under a key, or under the one that everybody knows.
fn proof(key: Option<&ClusterKey>, role: u8, port: u16, server: &[u8], client: &[u8]) -> blake3::Hash {
    let mut said = [role; 1 + PORT + 2 * NONCE];
    said[1..=PORT].copy_from_slice(&port.to_le_bytes());
    said[1 + PORT..][..NONCE].copy_from_slice(server);
    said[1 + PORT + NONCE..].copy_from_slice(client);
    blake3::keyed_hash(key.map_or(&[0; MAC], |key| &key.mac), &said)
}

/// That of `"host:port"`; 0 for what is no such address, which nobody listens at.
fn port_of(address: &str) -> u16 {
    address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0)
}

/// What a call shows that has no connection: nobody can listen to it, and nobody can replay it.
#[cfg(madsim)]
pub(crate) fn token(key: Option<&ClusterKey>) -> blake3::Hash {
    proof(key, CLIENT, 0, &[0; NONCE], &[0; NONCE])
}

/// The client's side, on a stream that was just opened.
///
/// # Errors
/// [`WrongKey`] inside `PermissionDenied`; `InvalidData` if it is no port of this protocol; those of the stream.
pub(crate) async fn prove(env: &Env, mut stream: Stream, address: &str) -> io::Result<Stream> {
    let mut greeting = [0; MAGIC.len() + NONCE];
    stream.read_exact(&mut greeting).await?;
    let other = || io::Error::new(io::ErrorKind::InvalidData, format!("{address} does not speak `mobula 1`"));
    let server = greeting.strip_prefix(MAGIC).ok_or_else(other)?;
    let (client, port) = (env.place().nonce()?, port_of(address));
    let mut said = [0; NONCE + MAC];
    said[..NONCE].copy_from_slice(&client);
    said[NONCE..].copy_from_slice(proof(env.key(), CLIENT, port, server, &client).as_bytes());
    stream.write_all(&said).await?;
    stream.flush().await?;
    let mut answer = [0; MAC];
    stream.read_exact(&mut answer).await?;
    if blake3::Hash::from_bytes(answer) == proof(env.key(), SERVER, port, server, &client) {
        return Ok(stream);
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, WrongKey(address.to_owned())))
}

/// The server's side, of the listener at `here`: the stream, once the other side has proved the key. `who` is what is
/// known of it.
///
/// # Errors
/// It did not, or broke off.
pub(crate) async fn admit(env: Env, mut stream: Stream, here: String, who: String) -> io::Result<Stream> {
    let mut heard = 0;
    let proof = match env.timeout(PATIENCE, hear(&env, &mut stream, port_of(&here), &mut heard)).await {
        Ok(Ok(proof)) => proof,
        Ok(Err(why)) if heard == 0 => return Err(why),
        // Nothing was asked, so nothing was refused.
        Err(Elapsed) if heard == 0 => return Err(io::Error::new(io::ErrorKind::TimedOut, "a silent connection")),
        Ok(Err(_)) | Err(Elapsed) => None,
    };
    if let Some(proof) = proof {
        stream.write_all(proof.as_bytes()).await?;
        stream.flush().await?;
        return Ok(stream);
    }
    // Before it is told, so that who knows of its refusal finds it counted.
    env.refuse(&who);
    let part = async {
        stream.write_all(&[0; MAC]).await?;
        stream.flush().await?;
        // What it sends still is thrown away until it has read the answer and hung up: closing a stream before may
        // destroy the answer.
        while stream.read(&mut [0; 64]).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    // That it does not listen changes nothing.
    let _ = env.timeout(PATIENCE, part).await;
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "it has not proved the cluster's key"))
}

/// What the other side is to be shown if it proves the key, else none.
async fn hear(env: &Env, stream: &mut Stream, port: u16, heard: &mut usize) -> io::Result<Option<blake3::Hash>> {
    let server = env.place().nonce()?;
    stream.write_all(&[&MAGIC[..], &server].concat()).await?;
    stream.flush().await?;
    let mut said = [0; NONCE + MAC];
    while *heard < said.len() {
        match stream.read(&mut said[*heard..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => *heard += more,
        }
    }
    let (client, shown) = said.split_at(NONCE);
    let proved = proof(env.key(), CLIENT, port, &server, client) == *shown;
    Ok(proved.then(|| proof(env.key(), SERVER, port, &server, client)))
}
