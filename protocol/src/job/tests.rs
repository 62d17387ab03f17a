//! Jobs against a list of what was said about each.

use super::*;
use proptest::prelude::*;

const DRIVER: Incarnation = Incarnation::new(1, 2);
const OTHER: Incarnation = Incarnation::new(2, 3);
const KEEPER: Incarnation = Incarnation::new(3, 4);

fn id(name: &str) -> JobId {
    JobId(name.to_owned())
}

fn said(jobs: &mut Jobs, from: Incarnation, word: Word) -> Option<Word> {
    let mut out = Vec::new();
    jobs.step(Nanos::secs(1), Event::Said { from, word }, &mut out);
    jobs.check().unwrap();
    let Effect::Say { to, word } = out.pop()?;
    assert_eq!((to, out.len()), (from, 0));
    Some(word)
}

fn begin(jobs: &mut Jobs, name: &str) -> Result<Box<JobInfo>, JobError> {
    match said(jobs, DRIVER, Word::Begin { request: 7, job: id(name), keeper: KEEPER }) {
        Some(Word::Answer { request: 7, result }) => result,
        other => panic!("{other:?}"),
    }
}

fn end(jobs: &mut Jobs, name: &str, status: JobStatus) -> JobStatus {
    match said(jobs, OTHER, Word::End { request: 8, job: id(name), status }) {
        Some(Word::Answer { request: 8, result }) => result.unwrap().status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_job_that_is_marked_finished_twice_ends_once() {
    let mut jobs = Jobs::default();
    begin(&mut jobs, "a").unwrap();
    assert_eq!(end(&mut jobs, "a", JobStatus::Succeeded), JobStatus::Succeeded);
    assert_eq!(end(&mut jobs, "a", JobStatus::Failed("late".to_owned())), JobStatus::Succeeded);
    assert_eq!(jobs.list().len(), 1);
}

#[test]
fn a_name_means_one_job_for_ever() {
    let mut jobs = Jobs::default();
    begin(&mut jobs, "a").unwrap();
    end(&mut jobs, "a", JobStatus::Succeeded);
    assert_eq!(begin(&mut jobs, "a"), Err(JobError::Exists { job: id("a"), status: JobStatus::Succeeded }));
}

#[test]
fn a_job_outlives_its_drivers_and_not_its_keeper() {
    let mut jobs = Jobs::default();
    begin(&mut jobs, "a").unwrap();
    jobs.step(Nanos::secs(2), Event::NodeDied(DRIVER), &mut Vec::new());
    assert_eq!(jobs.list()[0].drivers, []);
    assert_eq!(jobs.list()[0].status, JobStatus::Running);
    said(&mut jobs, OTHER, Word::Attach { request: 1, job: id("a") });
    assert_eq!(jobs.list()[0].drivers, [OTHER]);
    jobs.step(Nanos::secs(3), Event::NodeDied(KEEPER), &mut Vec::new());
    assert!(matches!(&jobs.list()[0].status, JobStatus::Failed(why) if why.contains("n3.4")));
}

#[test]
fn a_job_nobody_began_is_answered_with_those_there_are() {
    let mut jobs = Jobs::default();
    begin(&mut jobs, "a").unwrap();
    let Some(Word::Answer { result: Err(why), .. }) = said(&mut jobs, OTHER, Word::Attach { request: 1, job: id("b") })
    else {
        panic!("an error")
    };
    assert_eq!(why.to_string(), "there is no job `b`; there are: a");
}

#[test]
fn a_log_keeps_its_last_lines_and_cuts_long_ones() {
    let mut jobs = Jobs::default();
    begin(&mut jobs, "a").unwrap();
    for number in 0..=LINES {
        assert_eq!(said(&mut jobs, DRIVER, Word::Line { job: id("a"), line: number.to_string() }), None);
    }
    said(&mut jobs, DRIVER, Word::Line { job: id("a"), line: "\u{e4}".repeat(LINE) });
    let info = jobs.find(&id("a")).unwrap();
    assert_eq!((info.lines.len(), info.dropped, info.lines[0].as_str()), (LINES, 2, "2"));
    assert!(info.lines[LINES - 1].len() <= LINE);
}

proptest! {
    /// What the head says of a job follows from the first word about its beginning and the first about its end.
    #[test]
    fn every_job_is_what_was_said_first(words in proptest::collection::vec((0..4_u8, 0..3_u8, any::<bool>()), 0..60)) {
        let mut jobs = Jobs::default();
        let mut oracle: BTreeMap<String, JobStatus> = BTreeMap::new();
        for (what, name, well) in words {
            let name = name.to_string();
            let status = if well { JobStatus::Succeeded } else { JobStatus::Failed("it had to".to_owned()) };
            match what {
                0 => {
                    let begun = begin(&mut jobs, &name).is_ok();
                    prop_assert_eq!(begun, !oracle.contains_key(&name));
                    oracle.entry(name).or_insert(JobStatus::Running);
                }
                1 if oracle.contains_key(&name) => {
                    let ended = end(&mut jobs, &name, status.clone());
                    let known = oracle.entry(name).or_insert(JobStatus::Running);
                    if *known == JobStatus::Running {
                        *known = status;
                    }
                    prop_assert_eq!(ended, known.clone());
                }
                2 => drop(said(&mut jobs, OTHER, Word::Attach { request: 0, job: id(&name) })),
                3 => jobs.step(Nanos::secs(9), Event::NodeDied(OTHER), &mut Vec::new()),
                _ => {}
            }
            jobs.check().unwrap();
        }
        let listed = jobs.list().into_iter().map(|info| (info.job.0, info.status)).collect::<BTreeMap<_, _>>();
        prop_assert_eq!(listed, oracle);
    }
}
