//! A server that speaks S3, and what a test does behind the cluster's back.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The one bucket.
pub const BUCKET: &str = "mobula";
/// What is installed into an environment of its own.
const PACKAGE: &str = "moto[s3,server]==5.1.*";

/// The server; ends with this.
pub struct Server {
    process: Child,
    address: String,
}

impl Server {
    /// Installs moto below the target directory, if it is not there yet, and starts it with an empty bucket.
    pub fn start() -> Self {
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("moto");
        let program = venv.join("bin/moto_server");
        if !program.exists() {
            run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
            run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", PACKAGE]));
        }
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, address: address.to_string() };
        for _ in 0..600 {
            if TcpStream::connect(address).is_ok() {
                request(&server.address, "PUT", &format!("/{BUCKET}"), b"");
                return server;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("moto does not listen on {address} after 30 s");
    }

    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The bucket, seen from outside.
pub struct Bucket {
    server: String,
}

impl Bucket {
    pub fn at(server: &str) -> Self {
        Self { server: server.to_owned() }
    }

    /// The names of all spill files in a folder, sorted.
    pub fn files(&self, folder: &str) -> Vec<String> {
        let answer = request(&self.server, "GET", &format!("/{BUCKET}?list-type=2&prefix={folder}/"), b"");
        let keys = answer.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        let mut keys: Vec<String> = keys.filter(|key| key.ends_with(".spill")).map(str::to_owned).collect();
        keys.sort();
        keys
    }

    pub fn put(&self, file: &str, bytes: &[u8]) {
        request(&self.server, "PUT", &format!("/{BUCKET}/{file}"), bytes);
    }

    pub fn delete(&self, file: &str) {
        request(&self.server, "DELETE", &format!("/{BUCKET}/{file}"), b"");
    }
}

/// One request, its answer whole.
fn request(server: &str, method: &str, path: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(server).unwrap();
    let len = body.len();
    // moto takes the region and the service from the signature and does not check it.
    let signed = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {server}\r\nAuthorization: {signed}\r\nContent-Length: {len}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 2"), "{method} {path}: {answer}");
    answer
}

fn run(command: &mut Command) {
    let run = command.output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    assert!(run.status.success(), "{command:?}: {}", String::from_utf8_lossy(&run.stderr));
}
