use super::*;

const TWO_NODES: &str =
    "[cluster]\nnodes = [{ name = \"A\" }, { name = \"B\", resources = { ssd = 1 }, labels = { zone = \"z1\" } }]\n";

/// What the parser says of a file with these steps, which begin in line 2.
fn complaint(steps: &str) -> String {
    complaint_of(&format!("name = \"test\"\nsteps = [\n{steps}\n]\n{TWO_NODES}"))
}

fn complaint_of(text: &str) -> String {
    match parse("dir/test.toml", text) {
        Ok(scenario) => panic!("{text} should be refused, but is {scenario:?}"),
        Err(why) => why.to_string(),
    }
}

#[test]
fn every_example_of_the_readme_parses() {
    let readme = include_str!("../../README.md");
    let mut examples = 0;
    for block in readme.split("```toml\n").skip(1) {
        let example = block.split("```").next().expect("a block ends");
        let cluster = if example.contains("[cluster]") { "" } else { TWO_NODES };
        let name = if example.contains("name   =") { "" } else { "name = \"example\"\n" };
        let text = format!("{name}{example}\n{cluster}");
        if let Err(why) = parse("scenarios/README.md", &text) {
            panic!("{why}\n{text}");
        }
        examples += 1;
    }
    assert!(examples >= 15, "only {examples} examples found");
    for word in words() {
        assert!(readme.contains(&format!("{{ {word} = ")), "the README has no example of `{word}`");
    }
    for function in crate::tasks::FUNCTIONS {
        assert!(readme.contains(&format!("submit = \"{}\"", function.name)), "no example of `{}`", function.name);
    }
}

#[test]
fn unknown_words_name_the_line_and_the_nearest_word() {
    for (steps, said) in [
        (r#"{ sumbit = "produce", as = "x" },"#, "3: unknown verb `sumbit`; did you mean `submit`?"),
        (
            "{ sleep = \"1s\" },\n{ submit = \"prodcue\", as = \"x\" },",
            "4: unknown task `prodcue`; did you mean `produce`?",
        ),
        (
            r#"{ submit = "produce", as = "x", bytes = 1, cpu = 2 },"#,
            "3: unknown key `cpu` in `submit`; did you mean `cpus`?",
        ),
        (r#"{ kill = "E" },"#, "3: no node `E` here; there are A, B"),
        (r#"{ actor = "conter", as = "c", args = [0] },"#, "3: unknown actor `conter`; did you mean `counter`?"),
        (
            "{ actor = \"counter\", as = \"c\", args = [0] },\n{ call = \"c.ad\", args = [1] },",
            "4: `c` has no method `ad`; did you mean `add`?",
        ),
        (r#"{ partition = ["A", "drivr"] },"#, "3: no node `drivr` here; there are A, B"),
        (r#"{ get = "x" },"#, "3: no object `x` here; there are none"),
        (
            "{ put = 1, as = \"first\" },\n{ submit = \"consume\", args = [\"$frist\"] },",
            "4: no object `frist` here; did you mean `first`?",
        ),
        (r#"{ as = "x", submit = "produce" },"#, "3: a step begins with its verb: write `submit` before `as`"),
        (
            r#"{ put = 1, as = "x" }, { get = "x", expect = { error = "NodeDead" } },"#,
            "3: unknown error kind `NodeDead`; did you mean `NodeDied`?",
        ),
        (
            r#"{ put = 1, as = "x" }, { get = "x", expect = { error = "Unreconstructable", reason = "MAX_ATEMPTS" } },"#,
            "3: unknown reason `MAX_ATEMPTS`; did you mean `MAX_ATTEMPTS`?",
        ),
        (r#"{ assert = { execution = 3 } },"#, "3: unknown key `execution` in `assert`; did you mean `executions`?"),
        (
            r#"{ dataset = "d", from = "x.csv", ops = [{ filtr = "a" }] },"#,
            "3: unknown Dataset operation `filtr`; did you mean `filter`?",
        ),
    ] {
        assert_eq!(complaint(steps), format!("dir/test.toml:{said}"), "{steps}");
    }
}

#[test]
fn impossible_values_say_what_is_possible() {
    for (steps, said) in [
        (
            r#"{ submit = "produce", as = "x", bytes = "ten" },"#,
            "3: `bytes` must be a number of bytes such as \"10MB\", not \"ten\"",
        ),
        (r#"{ sleep = 3 },"#, "3: `sleep` must be a time such as \"250ms\", not 3"),
        (r#"{ submit = "produce", as = "x" },"#, "3: `produce` needs `bytes`"),
        (r#"{ submit = "chain", as = "x" },"#, "3: `chain` needs a value for `x`: `args = [...]`"),
        (r#"{ submit = "echo", as = "x", args = [1, 2] },"#, "3: `echo` takes 1 fewer values in `args`"),
        (
            r#"{ submit = "echo", as = "x", args = [1], on = "A", prefer = "B" },"#,
            "3: only one of `on`, `prefer`, `labels`, `strategy` and `group` can decide the place",
        ),
        (
            r#"{ submit = "echo", as = "x", args = [1], cpus = -1 },"#,
            "3: `cpus` must be an amount of a resource, such as 2 or 0.5, not -1",
        ),
        (
            r#"{ submit = "sleep", as = "x", time = "1s", process = true },"#,
            "3: `sleep` is not there for worker processes; these are: produce, consume, echo, fail, crash, spin, allocate",
        ),
        (
            r#"{ submit = "produce", as = ["a", "b"], bytes = 1 },"#,
            "3: `produce` has one result; `produce_many` has as many as `returns` says",
        ),
        ("{ put = 1, as = \"x\" },\n{ put = 2, as = \"x\" },", "4: there is an object `x` already, from line 3"),
        (r#"{ add_node = { name = "A" } },"#, "3: there is a node `A` already, from line 6"),
        (r#"{ partition = ["A"] },"#, "3: `partition` must be a list of two nodes, not a list"),
        (r#"{ partition = ["A", "A"] },"#, "3: `partition` needs two different nodes"),
        (r#"{ heal = "A" },"#, "3: `heal` must be two nodes, or \"all\", not \"A\""),
        (r#"{ put = 1, as = "x" }, { wait = "x", count = 0 },"#, "3: `count` must be at least 1"),
        (r#"{ put = 1, as = "x" }, { get = "x[i]" },"#, "3: `[i]` is for the `args` of a `submit` with a `count`"),
        (r#"{ put = 1, as = "x" }, { get = "x[i::2]" },"#, "3: `[i]` is for the `args` of a `submit` with a `count`"),
        (
            r#"{ put = 1, as = "x" }, { get = "x[i::0]" },"#,
            "3: `get` must be an object such as \"$x\", \"$x[2]\", \"$x[i]\" or \"$x[i::4]\", not \"x[i::0]\"",
        ),
        (r#"{ group = "g", bundles = [{ cpus = 1 }], count = 0 },"#, "3: `count` must be at least 1"),
        (
            r#"{ assert = { executions = "many" } },"#,
            "3: `many` is no condition; write a number, or comparisons such as `>= 1, < 5`",
        ),
        (
            r#"{ dataset = "d", from = "x.csv", ops = [{ filter = "a >" }] },"#,
            "3: in the expression `a >`, column 4: expected an operand, found the end",
        ),
        (
            r#"{ dataset = "d", from = "x.json" },"#,
            "3: `from` must be a Dataset, or files whose name ends in .parquet or .csv, not \"x.json\"",
        ),
        ("{},", "3: a step needs a verb"),
    ] {
        assert_eq!(complaint(steps), format!("dir/test.toml:{said}"), "{steps}");
    }
}

#[test]
fn parallel_steps_do_not_see_each_other() {
    let said = complaint(r#"{ parallel = [[{ put = 1, as = "x" }], [{ get = "x" }]] },"#);
    assert_eq!(said, "dir/test.toml:3: no object `x` here; there are none");
    let said = complaint(r#"{ parallel = [[{ put = 1, as = "x" }], [{ put = 1, as = "x" }]] },"#);
    assert_eq!(said, "dir/test.toml:3: two parallel steps make an object `x`");
}

#[test]
fn the_rest_of_a_file_is_checked_too() {
    let file = |rest: &str| complaint_of(&format!("name = \"test\"\nsteps = []\n{TWO_NODES}{rest}"));
    for (rest, said) in [
        (
            "[settings]\nhealth_perod = \"1s\"",
            "6: unknown key `health_perod` in `settings`; did you mean `health_period`?",
        ),
        (
            "[[fault]]\nwhen = \"finshed(x) >= 3\"\ndo = { kill = \"A\" }",
            "6: unknown trigger `finshed`; did you mean `finished`?",
        ),
        ("[[fault]]\nwhen = \"finished(x) >= 3\"\ndo = { kill = \"A\" }", "6: no task `x` here; there are none"),
        (
            "[[fault]]\nprobe = \"transfer.resume\"\ndo = { kill = \"A\" }",
            "6: unknown probe `transfer.resume`; did you mean `transfer.resumed`?",
        ),
        (
            "[[fault]]\nat = \"1s\"\ndo = { put = 1 }",
            "7: unknown fault verb `put`; there are kill, power_off, pause, resume, restart, head_kill, head_restart, \
             head_pause, head_wipe, drain, partition, heal, hold, release_messages, slow_link, loss, rpc, clock_jump, \
             add_node, evict, shrink_store, disk_full, disk_errors, slow_disk, mend_disk, lose_spill, corrupt_spill",
        ),
        (
            "[[fault]]\ndo = { kill = \"A\" }",
            "5: a fault needs one of `at`, `when` and `probe`; only `rpc` can do without",
        ),
        (
            "[[fault]]\nat = \"1s\"\nprobe = \"x\"\ndo = { kill = \"A\" }",
            "5: a fault has one of `at`, `when` and `probe`",
        ),
        (
            "[[fault]]\ndo = { rpc = { kind = \"in_flihgt\" } }",
            "6: unknown kind of fault `in_flihgt`; did you mean `in_flight`?",
        ),
        (
            "[[fault]]\ndo = { rpc = { kind = \"delay\", method = \"PushTsak\" } }",
            "6: no method or message `PushTsak`; did you mean `PushTask`?",
        ),
        (
            "[[fault]]\ndo = { rpc = { kind = \"reorder\", for = \"1s\" } }",
            "6: `for` is how long a call with the kind `delay` waits",
        ),
        ("[expect]\nexecutions = { x = 1 }", "6: no task `x` here; there are none"),
        ("[expects]\nexecutions = 1", "5: unknown key `expects` in a scenario file; did you mean `expect`?"),
    ] {
        assert_eq!(file(rest), format!("dir/test.toml:{said}"), "{rest}");
    }
    assert_eq!(complaint_of("steps = []"), "dir/test.toml:1: a scenario file needs `name`");
    assert_eq!(
        complaint_of("name = \"x\"\nworlds = [\"turmiol\"]\nsteps = []"),
        "dir/test.toml:2: unknown world `turmiol`; did you mean `turmoil`?"
    );
    let missing = read(Path::new("no/such/file.toml")).expect_err("no such file").to_string();
    assert!(missing.starts_with("no/such/file.toml: cannot be read: "), "{missing}");
    let broken = complaint_of("name = \"x\nsteps = []");
    assert!(broken.starts_with("dir/test.toml:1: "), "{broken}");
}

#[test]
fn plans_that_no_system_survives_are_refused_unless_an_error_is_expected() {
    let unsurvivable = [
        ("{ rpc = { kind = \"request_lost\", method = \"PushTask\" } },", "no call of PushTask ever succeeds"),
        ("{ hold = [\"A\", \"B\"] },", "never released"),
        ("{ slow_link = [\"A\", \"B\"], latency = \"1s\" },", "healthy nodes die"),
        ("{ loss = [\"A\", \"B\"], probability = 1 },", "everything is lost for ever"),
        (
            "{ kill = \"A\" }, { power_off = \"B\" },\n{ submit = \"produce\", as = \"z\", bytes = 1 },",
            "no node that could run a task is left",
        ),
    ];
    for (faults, why) in unsurvivable {
        let steps = |expect: &str| {
            format!(
                "{{ submit = \"produce\", as = \"x\", bytes = 1 }},\n{faults}\n{{ get = \"x\", expect = {expect} }},"
            )
        };
        let said = complaint(&steps("\"ok\""));
        assert!(said.starts_with("dir/test.toml:4: no system survives this: ") && said.contains(why), "{said}");
        let text = format!("name = \"test\"\nsteps = [\n{}\n]\n{TWO_NODES}", steps("{ error = \"NodeDied\" }"));
        parse("test.toml", &text).unwrap_or_else(|why| panic!("{why}"));
    }
    for survivable in [
        "{ rpc = { kind = \"request_lost\", count = 3 } },",
        "{ rpc = { kind = \"duplicate\" } },",
        "{ hold = [\"A\", \"B\"] }, { release_messages = [\"B\", \"A\"] },",
        "{ kill = \"A\" }, { kill = \"B\" }, { restart = \"B\" },",
        "{ loss = [\"A\", \"B\"], probability = 1 }, { heal = \"all\" },",
    ] {
        let text = format!("name = \"test\"\nsteps = [{survivable}]\n{TWO_NODES}");
        parse("test.toml", &text).unwrap_or_else(|why| panic!("{why}"));
    }
}
