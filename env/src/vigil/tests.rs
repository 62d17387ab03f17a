use super::*;

const LONGEST: Nanos = Nanos::micros(100);

#[test]
fn what_comes_soon_is_waited_for_awake_longer_and_longer() {
    let vigil = Vigil::new(LONGEST);
    let mut times = Vec::new();
    for _ in 0..6 {
        times.push(vigil.time());
        vigil.slept(Nanos::micros(90));
    }
    assert_eq!(times, [0, 10, 20, 40, 80, 100].map(Nanos::micros));
}

#[test]
fn what_takes_long_is_not_waited_for_awake() {
    let vigil = Vigil::new(LONGEST);
    vigil.slept(Nanos::micros(50));
    vigil.slept(Nanos::millis(1));
    assert_eq!(vigil.time(), Nanos::ZERO);
}
