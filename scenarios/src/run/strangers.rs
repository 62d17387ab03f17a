//! `stranger`.

use super::driver::{Done, Driver};
use super::report::Failure;
use super::steps::unexpected;
use crate::file::{Attempt, ObjectName, Stranger};
use mobula_runtime::{ClusterKey, Nanos, Outcome};
use mobula_sim::{FaultError, HEAD, Intent};

/// A refusal that takes longer is none: whoever has a wrong key must not try until its patience ends, ten seconds.
const AT_ONCE: Nanos = Nanos::secs(5);
/// How long the one who refused may take to have written it down.
const WRITTEN: Nanos = Nanos::secs(2);
const LOOK: Nanos = Nanos::millis(10);

impl Driver {
    /// Tries it, and looks that it is refused, at once, and that the one who was asked has counted it.
    pub async fn stranger(&self, stranger: &Stranger) -> Done {
        let known = |why: FaultError| Failure::new("stranger", why.to_string());
        let key = match stranger.with_key {
            true => Some(ClusterKey::new("the key of another cluster").map_err(|why| unexpected(why.to_string()))?),
            false => None,
        };
        let asked = stranger.asked().map_or(HEAD, |node| node.text.as_str());
        let intent = match &stranger.attempt {
            Attempt::Join => Intent::Join,
            Attempt::Submit(_) => Intent::Submit,
            Attempt::Read(object, _) => {
                Intent::Read(self.one(&ObjectName { name: object.clone(), index: None }, 0)?.id())
            }
        };
        let (before, from) = (self.cluster.refused(asked).map_err(known)?, self.env().now());
        let outcome = self.cluster.trespass(asked, intent, key).await.map_err(known)?;
        let took = self.env().now().saturating_sub(from);
        match outcome {
            Outcome::Refused(_) if took < AT_ONCE => {}
            Outcome::Refused(why) => return Err(unexpected(format!("{why}; that took {took}"))),
            Outcome::LetIn => return Err(unexpected(format!("{asked} let a stranger in"))),
            Outcome::Failed(why) => return Err(unexpected(format!("expected a refusal by {asked}, found: {why}"))),
        }
        while self.cluster.refused(asked).map_err(known)? == before && before.is_some() {
            if self.env().now().saturating_sub(from) > WRITTEN {
                return Err(unexpected(format!("{asked} refused a stranger and did not log it")));
            }
            self.env().sleep(LOOK).await;
        }
        Ok(if before.is_some() { "refused and logged".to_owned() } else { "refused".to_owned() })
    }
}
