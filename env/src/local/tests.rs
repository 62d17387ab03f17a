use super::*;
use crate::RealConfig;
use std::io::Read;
use std::sync::mpsc;

/// A place for a socket that no other test uses.
fn place(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("mobula-local-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir.join(name)
}

/// Greets with "hello" and a pipe that says "pipe", answers each message with its bytes reversed, "quiet" not at all, and
/// says when a connection is over.
fn service(over: mpsc::Sender<()>) -> LocalService {
    struct Over(mpsc::Sender<()>);
    impl Drop for Over {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let over = Mutex::new(over);
    Arc::new(move || {
        let (reader, mut writer) = io::pipe()?;
        io::Write::write_all(&mut writer, b"pipe")?;
        let over = Over(over.lock().unwrap().clone());
        let answer: Answer = Box::new(move |message, reply| {
            let _ = &over;
            if message != b"quiet" {
                reply.extend(message.iter().rev());
            }
        });
        Ok(Welcome { greeting: b"hello".to_vec(), descriptor: reader.into(), answer })
    })
}

fn node() -> crate::RealNode {
    Env::real(RealConfig { threads: 1, ..RealConfig::default() }).unwrap()
}

#[test]
fn messages_keep_their_bounds_and_a_descriptor_is_passed() {
    let (node, path) = (node(), place("bounds"));
    let (over, overs) = mpsc::channel();
    let server = node.env.serve_local(&path, service(over)).unwrap();
    let (client, greeting, descriptor) = LocalClient::connect(&path).unwrap();
    let mut said = String::new();
    std::fs::File::from(descriptor).read_to_string(&mut said).unwrap();
    assert_eq!((&greeting[..], &said[..]), (&b"hello"[..], "pipe"));
    let mut reply = Vec::new();
    thread::scope(|scope| {
        for thread in 0..4_u8 {
            let client = &client;
            scope.spawn(move || {
                let mut reply = Vec::new();
                for n in 0..200 {
                    client.tell(b"quiet").unwrap();
                    client.call(&[thread, n, 7], &mut reply).unwrap();
                    assert_eq!(reply, [7, n, thread]);
                }
            });
        }
    });
    drop(server);
    assert!(LocalClient::connect(&path).is_err(), "nobody is let in any more");
    client.call(b"ab", &mut reply).unwrap();
    assert_eq!(reply, b"ba", "who was there before goes on");
    assert!(overs.try_recv().is_err());
    drop(client);
    overs.recv().unwrap();
}

#[test]
fn a_place_is_taken_by_the_living_only() {
    let (node, path) = (node(), place("taken"));
    let service = service(mpsc::channel().0);
    let server = node.env.serve_local(&path, service.clone()).unwrap();
    let refused = node.env.serve_local(&path, service.clone()).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    assert!(refused.to_string().contains("taken"), "{refused}");
    drop(server);
    // A process that was killed leaves its file behind.
    drop(listen(&path).unwrap());
    assert!(path.exists());
    assert!(LocalClient::connect(&path).is_err());
    drop(node.env.serve_local(&path, service).unwrap());
    assert!(!path.exists());
}
