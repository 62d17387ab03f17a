use super::*;

#[test]
fn four_jobs_on_two_cores_take_twice_one() {
    let mut cores = Queue::new(2);
    let done: Vec<Nanos> = (0..4).map(|_| cores.reserve(Nanos(5), Nanos(100))).collect();
    assert_eq!(done, [105, 105, 205, 205].map(Nanos));
}

#[test]
fn an_idle_queue_starts_now_and_keeps_fractions() {
    let mut disk = Queue::new(1);
    assert_eq!(disk.reserve(Nanos(0), Nanos(3)), Nanos(3));
    assert_eq!(disk.reserve(Nanos(1), Nanos(3)), Nanos(6));
    assert_eq!(disk.reserve(Nanos(50), Nanos(3)), Nanos(53));
}

#[test]
fn what_was_not_needed_is_free_unless_somebody_counts_on_it() {
    let mut core = Queue::new(1);
    let killed = core.occupy(Nanos(10), Nanos(100));
    core.give_back(Nanos(30), &killed);
    assert_eq!(core.reserve(Nanos(30), Nanos(5)), Nanos(35));
    let killed = core.occupy(Nanos(35), Nanos(100));
    assert_eq!(core.reserve(Nanos(40), Nanos(5)), Nanos(140));
    core.give_back(Nanos(50), &killed);
    assert_eq!(core.reserve(Nanos(50), Nanos(5)), Nanos(145), "it stands behind what was put there meanwhile");
    let queued = core.occupy(Nanos(50), Nanos(100));
    core.give_back(Nanos(60), &queued);
    assert_eq!(core.reserve(Nanos(60), Nanos(5)), Nanos(150), "it had not begun, and gives back all of it");
}

#[test]
fn service_time_is_rounded_up_and_never_overflows() {
    let costs = Costs { nic: ByteSize(3), disk_latency: Nanos(7), disk: ByteSize(1_000_000_000), ..Costs::default() };
    assert_eq!(costs.of(Resource::NicSend, ByteSize(1)), Nanos(333_333_334));
    assert_eq!(costs.of(Resource::DiskRead, ByteSize(5)), Nanos(12));
    assert_eq!(costs.of(Resource::NicReceive, ByteSize(u64::MAX)), Nanos(u64::MAX));
    assert_eq!(service(ByteSize(10), ByteSize(0)), Nanos::ZERO);
}

#[test]
fn charges_go_to_the_innermost_computation() {
    let ((inner, ()), outer) = metered(|| {
        charge(Nanos(1));
        let (_, inner) = metered(|| charge(Nanos(10)));
        (inner, charge(Nanos(2)))
    });
    assert_eq!((inner, outer), (Nanos(10), Nanos(3)));
}
