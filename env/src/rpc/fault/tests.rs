use super::*;

fn fates(faults: &RpcFaults, calls: usize) -> Vec<bool> {
    (0..calls).map(|_| faults.fate("A", "B", ["Exchange", "PushTask"].into_iter()).is_some()).collect()
}

#[test]
fn a_fault_meets_the_calls_it_names_and_no_others() {
    let faults = RpcFaults::default();
    let method = Some("PushTask".to_owned());
    faults.inject(7, RpcFault { method, nth: 2, count: Some(2), ..RpcFault::new(RpcFaultKind::InFlight) });
    assert_eq!(faults.fate("A", "B", ["Heartbeat"].into_iter()), None);
    assert_eq!(fates(&faults, 5), [false, true, true, false, false]);
}

#[test]
fn the_dice_of_one_fault_do_not_move_those_of_another() {
    let rare = RpcFault { probability: 0.3, ..RpcFault::new(RpcFaultKind::RequestLost) };
    let other = RpcFault { method: Some("Free".to_owned()), ..rare.clone() };
    let (alone, beside) = (RpcFaults::default(), RpcFaults::default());
    alone.inject(7, rare.clone());
    beside.inject(7, other);
    beside.inject(7, rare);
    let alone = fates(&alone, 200);
    assert_eq!(alone, fates(&beside, 200));
    assert!((20..120).contains(&alone.iter().filter(|fired| **fired).count()));
}

#[test]
fn directions_are_held_slowed_and_mended_apart() {
    let faults = RpcFaults::default();
    assert!(faults.is_empty());
    faults.hold("A", "B", true);
    faults.slow("A", "B", Nanos::millis(3));
    assert!(faults.is_held("A", "B") && !faults.is_held("B", "A"));
    assert_eq!((faults.latency("A", "B"), faults.latency("B", "A")), (Nanos::millis(3), Nanos::ZERO));
    faults.lossy(1, "B", "A", 1.0);
    assert_eq!(faults.fate("A", "B", std::iter::empty()), Some(RpcFaultKind::ReplyLost));
    assert_eq!(faults.fate("B", "A", std::iter::empty()), Some(RpcFaultKind::RequestLost));
    faults.clear();
    assert!(faults.is_empty() && !faults.is_held("A", "B"));
}

#[test]
fn the_text_of_a_fault_reads_back() {
    let text = "kind=delay,for=5000000ns,method=PushTask,from=A,to=B,nth=3,count=2,probability=0.5";
    let fault: RpcFault = text.parse().unwrap();
    assert_eq!(fault.kind, RpcFaultKind::Delay(Nanos::millis(5)));
    assert_eq!(fault.to_string(), text);
    for word in RpcFaultKind::WORDS {
        let fault = RpcFault::new(RpcFaultKind::of(word, Nanos(1)).unwrap());
        assert_eq!(fault.to_string().parse(), Ok(fault));
    }
    let refused = |text: &str| text.parse::<RpcFault>().unwrap_err();
    assert!(refused("kind=lost").contains("request_lost, reply_lost"));
    assert_eq!(refused("kind=delay,often=3"), "a fault of calls has no `often`");
    assert_eq!(refused("kind=delay,nth=x"), "`nth=x` cannot be read");
}

#[test]
fn a_fault_with_a_count_is_unmet_until_so_many_calls_met_it() {
    let faults = RpcFaults::default();
    let fault = RpcFault { nth: 2, count: Some(2), ..RpcFault::new(RpcFaultKind::Duplicate) };
    faults.inject(1, fault.clone());
    faults.inject(1, RpcFault { count: None, ..fault.clone() });
    faults.inject(1, RpcFault { probability: 0.5, ..fault.clone() });
    for unmet in [1, 1, 0] {
        faults.fate("A", "B", std::iter::empty());
        assert_eq!(faults.unmet(), vec![fault.clone(); unmet]);
    }
    let never = RpcFault { method: Some("Drain".to_owned()), ..fault };
    faults.inject(1, never.clone());
    faults.clear();
    assert_eq!(faults.unmet(), [never]);
}
