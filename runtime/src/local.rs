//! The store of this node for other processes of the host: `mobula_store::client` over a Unix socket.

use crate::Context;
use mobula_env::Env;
use mobula_env::local::{Answer, LocalClient, LocalServer, LocalService, Welcome};
use mobula_protocol::ObjectId;
use mobula_store::client::{HELLO, Link};
use mobula_store::{Arena, Client, ClientError, Session, View};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// Finds a sealed object of the store.
pub type Find = Arc<dyn Fn(ObjectId) -> Option<View> + Send + Sync>;

/// Lets processes of this user and host read the objects in `arena` that `find` finds, through the socket `path`, until
/// the server is dropped; see [`mobula_store::client`].
///
/// # Errors
/// `Unsupported` if the arena is plain memory, as in simulation; otherwise those of [`Env::serve_local`].
pub fn share(env: &Env, arena: &Arena, find: Find, path: &Path) -> io::Result<LocalServer> {
    let plain = || io::Error::new(io::ErrorKind::Unsupported, "plain memory has no descriptor to pass");
    let descriptor: OwnedFd = arena.descriptor().ok_or_else(plain)?.try_clone_to_owned()?;
    let service: LocalService = Arc::new(move || {
        let (mut session, find) = (Session::new(), find.clone());
        let answer: Answer = Box::new(move |message, reply| session.answer(message, |id| find(id), reply));
        Ok(Welcome { greeting: HELLO.to_vec(), descriptor: descriptor.try_clone()?, answer })
    });
    env.serve_local(path, service)
}

/// Connects this process to the store that a node of this host shares at `path`.
///
/// # Errors
/// Nobody shares a store there, or what does is of another version.
pub fn attach(path: &Path) -> Result<Client, ClientError> {
    let (client, greeting, descriptor) = LocalClient::connect(path)?;
    Client::over(Arc::new(Socket(client)), &greeting, &descriptor)
}

struct Socket(LocalClient);

impl Link for Socket {
    fn call(&self, request: &[u8], reply: &mut Vec<u8>) -> io::Result<()> {
        self.0.call(request, reply)
    }

    fn tell(&self, message: &[u8]) {
        // It fails only if the node is gone, and then there is nothing to release.
        let _ = self.0.tell(message);
    }
}

impl Context {
    /// Shares the store of this process's node with other processes of the host; see [`share`].
    ///
    /// # Errors
    /// As [`share`].
    pub fn share_store(&self, path: &Path) -> io::Result<LocalServer> {
        let (env, objects) = (self.env().clone(), self.shared().objects.clone());
        let arena = objects.table().arena().clone();
        let find = Arc::new(move |id| objects.table().get(env.now(), id));
        share(self.env(), &arena, find, path)
    }
}
