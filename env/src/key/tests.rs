use super::*;
use crate::rpc::{RpcError, RpcService, RpcStatus};
use crate::{SimConfig, simulate};
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};

/// Of the service; that of the listener is the next.
const SERVICE: u16 = 9_000;

/// Counts the calls that reach it.
#[derive(Default)]
struct Counting(AtomicU64);

impl RpcService for Counting {
    fn call(
        self: Arc<Self>,
        _method: String,
        body: Bytes,
    ) -> futures_util::future::BoxFuture<'static, Result<Bytes, RpcStatus>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { Ok(body) })
    }
}

fn other() -> ClusterKey {
    ClusterKey::new("another cluster's key").unwrap()
}

#[test]
fn a_key_is_long_enough_and_never_printed() {
    assert!(matches!(ClusterKey::new("   fifteen bytes!   "), Err(KeyError::TooShort(14))));
    let key = ClusterKey::new(" sixteen bytes ...\n").unwrap();
    assert_eq!((key.secret(), format!("{key:?}")), ("sixteen bytes ...", "ClusterKey(..)".to_owned()));
    assert_eq!(key, ClusterKey::new("sixteen bytes ...").unwrap());
    assert_ne!(key, other());
}

#[test]
fn a_proof_depends_on_everything() {
    let (key, a, b) = (ClusterKey::simulated(1), [1; NONCE], [2; NONCE]);
    let shown = proof(Some(&key), CLIENT, 5, &a, &b);
    assert_eq!(shown, proof(Some(&key.clone()), CLIENT, 5, &a, &b));
    let others = [
        proof(Some(&key), SERVER, 5, &a, &b),
        proof(Some(&key), CLIENT, 6, &a, &b),
        proof(Some(&key), CLIENT, 5, &b, &a),
        proof(Some(&ClusterKey::simulated(2)), CLIENT, 5, &a, &b),
        proof(None, CLIENT, 5, &a, &b),
    ];
    assert!(others.iter().all(|other| *other != shown));
}

/// Every way to be a stranger, against a service and a listener of the node `"A"`, in the simulator of this build.
#[test]
fn strangers_reach_no_handler_and_no_byte() {
    let served = Arc::new(Counting::default());
    let service = served.clone();
    let report = simulate(SimConfig { trace: true, ..SimConfig::default() }, move |env, sim| async move {
        let boot = move |env: Env| -> futures_util::future::BoxFuture<'static, ()> {
            let service = service.clone();
            Box::pin(async move {
                let server = env.rpc_serve(SERVICE, service).await.unwrap();
                let listener = env.listen(SERVICE + 1).await.unwrap();
                env.clone().spawn("serve", async move {
                    let _server = server;
                    loop {
                        let mut stream = listener.accept().await.unwrap();
                        let task = env.clone();
                        env.spawn("answer", async move {
                            let mut asked = [0; 4];
                            if stream.read_exact(&mut asked).await.is_ok() {
                                task.probe("asked");
                                stream.write_all(b"sesame").await.unwrap();
                                stream.flush().await.unwrap();
                            }
                        });
                    }
                });
            })
        };
        sim.start_node("A", 1, boot).await;
        env.sleep(Nanos::millis(20)).await;
        let call = async |env: &Env| {
            let client = env.rpc_client("A:9000");
            client.call("any", Bytes::from_static(b"x"), Nanos::millis(700)).await
        };
        let refused = Err(RpcError::WrongKey(WrongKey("A:9000".to_owned())));
        for (number, key) in [(1, None), (2, Some(other()))] {
            let stranger = env.with_key(key);
            let from = env.now();
            assert_eq!(call(&stranger).await, refused);
            let why = stranger.connect("A:9001").await.unwrap_err();
            assert_eq!(why.kind(), io::ErrorKind::PermissionDenied, "{why}");
            assert!(env.now() - from < Nanos::secs(1), "at once, not after a timeout");
            assert_eq!(sim.refused("A"), 2 * number);
        }
        // Whoever has the key is served, before and after.
        assert_eq!(call(&env).await, Ok(Bytes::from_static(b"x")));
        let mut friend = env.connect("A:9001").await.unwrap();
        friend.write_all(b"open").await.unwrap();
        friend.flush().await.unwrap();
        let mut answer = [0; 6];
        friend.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"sesame");
        rude(&env).await;
        assert_eq!(sim.refused("A"), 6);
        silent(&env).await;
        assert_eq!(sim.refused("A"), 6, "who asks nothing is not refused");
        impostor(&env).await;
        go_between(&env).await;
        assert_eq!(sim.refused("A"), 7);
    });
    report.outcome.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!((served.0.load(Ordering::Relaxed), report.probes.get("asked")), (1, Some(&1)));
    let lines: Vec<_> = report.lines.iter().filter(|line| line.contains(" A stranger ")).collect();
    assert_eq!(lines.len(), 7, "{lines:?}");
    assert!(lines[0].ends_with(" A stranger 1 driver") && lines[5].ends_with(" A stranger 6 driver"), "{lines:?}");
}

/// Streams that do not do as this protocol says: a request without a proof, and a made-up proof with one behind it.
async fn rude(env: &Env) {
    for length in [NONCE + MAC + 4, 20] {
        let mut stream = env.place().connect(env, "A:9001").await.unwrap();
        stream.write_all(&vec![b'x'; length]).await.unwrap();
        stream.flush().await.unwrap();
        let mut greeting = [0; MAGIC.len() + NONCE];
        stream.read_exact(&mut greeting).await.unwrap();
        let mut rest = [0; MAC];
        if length > 20 {
            stream.read_exact(&mut rest).await.unwrap();
            assert_eq!(rest, [0; MAC], "refused, and no proof of its own");
        } else {
            env.sleep(PATIENCE * 2).await;
        }
    }
}

/// It is hung up on.
async fn silent(env: &Env) {
    let mut stream = env.place().connect(env, "A:9001").await.unwrap();
    let mut all = Vec::new();
    env.timeout(PATIENCE * 2, stream.read_to_end(&mut all)).await.unwrap().unwrap();
    assert_eq!(all.len(), MAGIC.len() + NONCE);
}

/// Who listens where a process of the cluster listened learns no key, and is not taken for it.
async fn impostor(env: &Env) {
    let thief = env.with_key(Some(other()));
    let listener = thief.listen(SERVICE + 2).await.unwrap();
    thief.spawn("impostor", async move {
        let mut stream = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1]).await;
    });
    let why = env.connect("driver:9002").await.unwrap_err();
    assert_eq!(why.kind(), io::ErrorKind::PermissionDenied, "{why}");
}

/// Nor can it pass what it is asked on to a process that lives, at another port.
async fn go_between(env: &Env) {
    async fn pass<const N: usize>(from: &mut Stream, to: &mut Stream) {
        let mut bytes = [0; N];
        from.read_exact(&mut bytes).await.unwrap();
        to.write_all(&bytes).await.unwrap();
        to.flush().await.unwrap();
    }
    let thief = env.with_key(None);
    let listener = thief.place().listen(&thief, SERVICE + 3).await.unwrap();
    thief.clone().spawn("go-between", async move {
        let mut client = listener.accept().await.unwrap();
        let mut server = thief.place().connect(&thief, "A:9001").await.unwrap();
        pass::<{ MAGIC.len() + NONCE }>(&mut server, &mut client).await;
        pass::<{ NONCE + MAC }>(&mut client, &mut server).await;
        pass::<MAC>(&mut server, &mut client).await;
    });
    let why = env.connect("driver:9003").await.unwrap_err();
    assert_eq!(why.kind(), io::ErrorKind::PermissionDenied, "{why}");
}

#[cfg(not(madsim))]
mod real {
    use super::*;
    use crate::{RealConfig, RealNet};
    use std::io::{Read, Write};
    use std::net::{IpAddr, Ipv4Addr, TcpStream};
    use std::os::unix::fs::PermissionsExt;

    /// What is no Mobula at all sends HTTP/2, or anything, and hears nothing of what is behind the port.
    #[test]
    fn a_foreign_program_reaches_no_handler_through_a_real_socket() {
        let key = Some(other());
        let real = Env::real(RealConfig { key: key.clone(), threads: 1, ..RealConfig::default() }).unwrap();
        let served = Arc::new(Counting::default());
        let server = real.block_on(real.env.rpc_serve(0, served.clone())).unwrap();
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        stream.write_all(&[0; 256]).unwrap();
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        assert_eq!(heard[..MAGIC.len()], MAGIC[..]);
        assert!(heard.len() <= MAGIC.len() + NONCE + MAC, "{} bytes", heard.len());
        assert_eq!((real.env.refused(), served.0.load(Ordering::Relaxed)), (1, 0));
        let friend = Env::real(RealConfig { key, threads: 1, ..RealConfig::default() }).unwrap();
        let client = friend.env.rpc_client(&server.address());
        let answer = friend.block_on(client.call("any", Bytes::from_static(b"x"), Nanos::secs(5)));
        assert_eq!(answer, Ok(Bytes::from_static(b"x")));
        let wrong = Env::real(RealConfig { threads: 1, ..RealConfig::default() }).unwrap();
        let why = wrong.block_on(wrong.env.rpc_connect(&server.address())).unwrap_err();
        assert_eq!(why, RpcError::WrongKey(WrongKey(server.address())));
        assert!(!why.is_retryable() && why.to_string().contains(KEY), "{why}");
    }

    #[test]
    fn nothing_listens_beyond_loopback_without_a_key() {
        let bind = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        let config = RealConfig { bind, threads: 1, net: RealNet::Sockets, ..RealConfig::default() };
        let open = Env::real(config.clone()).unwrap();
        let why = open.block_on(open.env.listen(0)).unwrap_err();
        assert!(why.to_string().contains("0.0.0.0") && why.to_string().contains(KEY), "{why}");
        let closed = Env::real(RealConfig { key: Some(other()), ..config }).unwrap();
        closed.block_on(closed.env.listen(0)).unwrap();
    }

    #[test]
    fn random_keys_differ() {
        let (a, b) = (ClusterKey::random().unwrap(), ClusterKey::random().unwrap());
        assert!(a != b && a.secret().len() == 64);
    }

    #[test]
    fn the_file_is_made_once_for_this_user_alone() {
        let home = std::env::temp_dir().join(format!("mobula-key-{}", std::process::id()));
        let file = home.join(".mobula/key");
        assert!(matches!(ClusterKey::read(&file), Ok(None)));
        ClusterKey::make(&file).unwrap();
        let key = ClusterKey::read(&file).unwrap().unwrap();
        ClusterKey::make(&file).unwrap();
        assert_eq!(ClusterKey::read(&file).unwrap().unwrap(), key, "the first one stays");
        assert_eq!(std::fs::read_dir(home.join(".mobula")).unwrap().count(), 1, "no draft is left");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(ClusterKey::read(&file), Err(KeyError::Exposed(_))));
        std::fs::remove_dir_all(home).unwrap();
    }
}
