use super::*;
use crate::{Arena, CopyKind, Table};
use mobula_protocol::{ByteSize, Nanos};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::{Mutex, Weak};

/// A node in the same process, and connections without a socket.
struct Node {
    table: Mutex<Table>,
    sessions: Mutex<BTreeMap<u64, Session>>,
}

struct Wire {
    node: Weak<Node>,
    client: u64,
}

impl Node {
    fn new() -> Arc<Self> {
        let table = Table::new(Arena::memfd(ByteSize(100_000)).unwrap());
        Arc::new(Self { table: table.into(), sessions: Mutex::default() })
    }

    fn connect(self: &Arc<Self>, client: u64) -> Client {
        self.sessions.lock().unwrap().insert(client, Session::new());
        let link = Arc::new(Wire { node: Arc::downgrade(self), client });
        let descriptor = self.table.lock().unwrap().arena().descriptor().unwrap().try_clone_to_owned().unwrap();
        Client::over(link, &HELLO, &descriptor).unwrap()
    }

    fn put(&self, seq: u64, fill: u8, len: u64) {
        let mut table = self.table.lock().unwrap();
        let mut region = table.create(Nanos::ZERO, object(seq), ByteSize(len), CopyKind::Cached).unwrap().region;
        region.as_mut_slice().fill(fill);
        table.seal(Nanos::ZERO, object(seq), region).unwrap();
    }

    fn say(&self, client: u64, message: &[u8], reply: &mut Vec<u8>) -> io::Result<()> {
        let mut sessions = self.sessions.lock().unwrap();
        let session = sessions.get_mut(&client).ok_or(io::ErrorKind::BrokenPipe)?;
        session.answer(message, |id| self.table.lock().unwrap().get(Nanos::ZERO, id), reply);
        Ok(())
    }
}

impl Link for Wire {
    fn call(&self, request: &[u8], reply: &mut Vec<u8>) -> io::Result<()> {
        self.node.upgrade().ok_or(io::ErrorKind::BrokenPipe)?.say(self.client, request, reply)
    }

    fn tell(&self, message: &[u8]) {
        if let Some(node) = self.node.upgrade() {
            let _ = node.say(self.client, message, &mut Vec::new());
        }
    }
}

fn object(seq: u64) -> ObjectId {
    TaskId { owner: Incarnation::new(7, 3), seq }.result(1)
}

#[test]
fn a_client_reads_what_was_sealed_and_the_node_counts_it() {
    let node = Node::new();
    let client = node.connect(1);
    node.put(5, 0xAB, 1000);
    assert_eq!(client.get(object(6)).unwrap(), None);
    let bytes = client.get(object(5)).unwrap().unwrap();
    let part = bytes.slice(100..200);
    drop((bytes, client));
    assert!(node.table.lock().unwrap().delete(object(5)));
    let usage = node.table.lock().unwrap().arena().used();
    assert_eq!((&part[..], usage), (&[0xAB; 100][..], ByteSize(1024)), "what a client reads stays on the ledger");
    drop(part);
    assert_eq!(node.table.lock().unwrap().arena().used(), ByteSize::ZERO);
}

#[test]
fn a_connection_that_ends_releases_what_it_held_and_no_more() {
    let node = Node::new();
    let (dead, alive) = (node.connect(1), node.connect(2));
    node.put(5, 1, 1000);
    node.put(6, 2, 1000);
    let lost = (dead.get(object(5)).unwrap(), dead.get(object(6)).unwrap());
    let kept = alive.get(object(6)).unwrap().unwrap();
    // The process is killed: nothing of it runs any more, and the system ends the connection.
    std::mem::forget((lost, dead));
    assert_eq!(node.sessions.lock().unwrap().remove(&1).unwrap().held(), 2);
    let mut table = node.table.lock().unwrap();
    assert!(table.delete(object(5)) && table.delete(object(6)));
    assert_eq!((&kept[..], table.arena().used()), (&[2; 1000][..], ByteSize(1024)));
}

#[test]
fn what_a_node_lends_is_the_clients_until_it_lets_go() {
    let node = Node::new();
    let client = node.connect(1);
    node.put(5, 0xCD, 1000);
    let view = node.table.lock().unwrap().get(Nanos::ZERO, object(5)).unwrap();
    let loan = node.sessions.lock().unwrap().get_mut(&1).unwrap().lend(view);
    assert!(node.table.lock().unwrap().delete(object(5)));
    assert_eq!(node.sessions.lock().unwrap()[&1].lent(loan).unwrap(), [0xCD; 1000][..]);
    let bytes = client.borrow(loan).unwrap();
    let part = bytes.slice(10..20);
    drop(bytes);
    assert_eq!((&part[..], node.sessions.lock().unwrap()[&1].held()), (&[0xCD; 10][..], 1));
    drop(part);
    assert_eq!(node.sessions.lock().unwrap()[&1].held(), 0);
    assert_eq!(node.table.lock().unwrap().arena().used(), ByteSize::ZERO);
    assert!(client.borrow(Loan { offset: u64::MAX, ..loan }).is_none(), "outside of the arena");
    assert!(node.sessions.lock().unwrap()[&1].lent(loan).is_none());
}

#[test]
fn a_stranger_is_told_apart() {
    let node = Node::new();
    let link = || Arc::new(Wire { node: Arc::downgrade(&node), client: 1 });
    let arena = node.table.lock().unwrap().arena().clone();
    let descriptor = arena.descriptor().unwrap().try_clone_to_owned().unwrap();
    assert!(matches!(Client::over(link(), b"HTTP/1.1", &descriptor), Err(ClientError::Greeting { .. })));
    let other = rustix::fs::memfd_create("other", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
    assert!(matches!(Client::over(link(), &HELLO, &other), Err(ClientError::Store(_))));
    let client = Client::over(link(), &HELLO, &descriptor).unwrap();
    assert!(matches!(client.get(object(1)), Err(ClientError::Link(_))), "not connected");
}

proptest! {
    #[test]
    fn whatever_a_client_says_the_node_lives_and_holds_what_was_got_and_not_released(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
        kinds in prop::collection::vec((0_u32..4, 0_u64..4), 0..40),
    ) {
        let node = Node::new();
        let _client = node.connect(1);
        node.put(1, 1, 64);
        let mut reply = Vec::new();
        for message in messages {
            node.say(1, &message, &mut reply).unwrap();
        }
        let mut granted = BTreeSet::new();
        for (kind, last) in kinds {
            node.say(1, &request(kind, Some(object(1)), last), &mut reply).unwrap();
            match (kind, last) {
                (GET, 1) => {
                    let [status, ticket, ..] = words::<4>(&reply).unwrap();
                    prop_assert!(status as u32 == HERE && granted.insert(ticket), "it is here: {:?}", reply);
                }
                (GET, _) => prop_assert_eq!(words::<4>(&reply).unwrap()[0] as u32, ABSENT),
                (RELEASE, ticket) => drop(granted.remove(&ticket)),
                _ => {}
            }
        }
        let held = node.sessions.lock().unwrap().remove(&1).unwrap();
        prop_assert_eq!(held.held(), granted.len());
        drop(held);
        prop_assert!(node.table.lock().unwrap().delete(object(1)));
        prop_assert_eq!(node.table.lock().unwrap().arena().used(), ByteSize::ZERO);
    }
}
