use super::*;

fn put(tree: &mut Tree, path: &str, text: &'static str) {
    tree.run(path, Op::Write(Bytes::from_static(text.as_bytes()))).unwrap();
}

fn sync(tree: &mut Tree, path: &str) {
    tree.run(path, Op::Sync).unwrap();
}

fn text(tree: &mut Tree, path: &str) -> Option<String> {
    match tree.run(path, Op::Read { offset: 0, len: u64::MAX }) {
        Ok(Answer::Bytes(bytes)) => Some(String::from_utf8(bytes.to_vec()).unwrap()),
        Ok(other) => panic!("{other:?}"),
        Err(e) => {
            assert_eq!(e.kind(), io::ErrorKind::NotFound);
            None
        }
    }
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_no_more() {
    let mut tree = Tree::default();
    put(&mut tree, "kept", "one");
    sync(&mut tree, "kept");
    tree.run("kept", Op::Append(Bytes::from_static(b" two"))).unwrap();
    put(&mut tree, "lost", "three");
    assert_eq!(text(&mut tree, "kept").unwrap(), "one two");
    tree.power_cut();
    assert_eq!(text(&mut tree, "kept").unwrap(), "one");
    assert_eq!(text(&mut tree, "lost"), None);
}

#[test]
fn a_rename_is_atomic_across_a_power_cut() {
    for synced in [false, true] {
        let mut tree = Tree::default();
        put(&mut tree, "file", "old");
        sync(&mut tree, "file");
        put(&mut tree, "draft", "new");
        sync(&mut tree, "draft");
        tree.run("draft", Op::Rename("file".into())).unwrap();
        assert_eq!(text(&mut tree, "file").unwrap(), "new");
        assert_eq!(text(&mut tree, "draft"), None);
        if synced {
            sync(&mut tree, "file");
        }
        tree.power_cut();
        assert_eq!(text(&mut tree, "file").unwrap(), if synced { "new" } else { "old" });
        assert_eq!(text(&mut tree, "draft").is_some(), !synced);
    }
}

#[test]
fn another_files_sync_does_not_lose_a_file_being_renamed() {
    let mut tree = Tree::default();
    put(&mut tree, "a", "content");
    sync(&mut tree, "a");
    tree.run("a", Op::Rename("b".into())).unwrap();
    put(&mut tree, "other", "");
    sync(&mut tree, "other");
    tree.power_cut();
    assert_eq!(text(&mut tree, "a").unwrap(), "content");
}

#[test]
fn a_removal_is_durable_after_the_next_sync() {
    for synced in [false, true] {
        let mut tree = Tree::default();
        put(&mut tree, "a", "content");
        sync(&mut tree, "a");
        put(&mut tree, "b", "");
        tree.run("a", Op::Remove).unwrap();
        tree.run("a", Op::Remove).unwrap();
        assert_eq!(text(&mut tree, "a"), None);
        if synced {
            sync(&mut tree, "b");
        }
        tree.power_cut();
        assert_eq!(text(&mut tree, "a").is_some(), !synced);
    }
}

#[test]
fn a_file_created_again_after_a_removal_is_a_new_one() {
    let mut tree = Tree::default();
    put(&mut tree, "a", "first");
    sync(&mut tree, "a");
    tree.run("a", Op::Remove).unwrap();
    put(&mut tree, "a", "second");
    tree.power_cut();
    assert_eq!(text(&mut tree, "a").unwrap(), "first");
    assert_eq!(tree.contents.len(), 1);
}

#[test]
fn lists_by_prefix_in_order() {
    let mut tree = Tree::default();
    for path in ["spill/2", "spill/1", "log", "spill2"] {
        put(&mut tree, path, "");
    }
    let Answer::Paths(paths) = tree.run("spill/", Op::List).unwrap() else { panic!("no list") };
    assert_eq!(paths, ["spill/1", "spill/2"]);
}
