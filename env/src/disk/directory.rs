//! The real disk: files under one directory. Runs on a thread for blocking work.

use super::{Answer, Op};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

pub(super) fn run(dir: &Path, path: &str, op: Op) -> io::Result<Answer> {
    let file = dir.join(path);
    match op {
        Op::Write(bytes) => {
            create_parent(&file)?;
            fs::write(&file, &bytes)?;
        }
        Op::Append(bytes) => {
            create_parent(&file)?;
            OpenOptions::new().create(true).append(true).open(&file)?.write_all(&bytes)?;
        }
        Op::AppendDurably(bytes) => {
            create_parent(&file)?;
            let mut opened = OpenOptions::new().create(true).append(true).open(&file)?;
            opened.write_all(&bytes)?;
            opened.sync_data()?;
        }
        Op::Sync => {
            File::open(&file)?.sync_all()?;
            // The name is in the directory, and the directory's name in its parent.
            for above in file.ancestors().skip(1).take_while(|above| above.starts_with(dir)) {
                File::open(above)?.sync_all()?;
            }
        }
        Op::Read { offset, len } => {
            let mut opened = File::open(&file)?;
            opened.seek(SeekFrom::Start(offset))?;
            let mut bytes = Vec::new();
            opened.take(len).read_to_end(&mut bytes)?;
            return Ok(Answer::Bytes(bytes.into()));
        }
        Op::Len => return Ok(Answer::Len(fs::metadata(&file)?.len())),
        Op::Written => {
            let written = fs::metadata(&file)?.modified()?;
            // A file from before 1970 is old enough.
            let since = written.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            return Ok(Answer::Written(i64::try_from(since.as_secs()).unwrap_or(i64::MAX)));
        }
        Op::Remove => match fs::remove_file(&file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        },
        Op::List => {
            let mut paths = Vec::new();
            if dir.is_dir() {
                collect(dir, dir, &mut paths)?;
            }
            paths.retain(|found| found.starts_with(path));
            paths.sort();
            return Ok(Answer::Paths(paths));
        }
        Op::Rename(to) => {
            let to = dir.join(to);
            create_parent(&to)?;
            fs::rename(&file, &to)?;
        }
    }
    Ok(Answer::Done)
}

fn create_parent(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), fs::create_dir_all)
}

/// All files below `at`, relative to `root`, with `/` between components.
fn collect(root: &Path, at: &Path, paths: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(at)? {
        let path: PathBuf = entry?.path();
        if path.is_dir() {
            collect(root, &path, paths)?;
        } else if let Ok(inside) = path.strip_prefix(root) {
            paths.push(inside.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/"));
        }
    }
    Ok(())
}
