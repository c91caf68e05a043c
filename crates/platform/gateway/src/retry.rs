//! Whether a request that failed is sent again, and when.
//!
//! Two questions: may it be ([`Policy::decide`], pure), and can it be afforded ([`Budget`]). The
//! budget is GEP-3388's: retries may be a share of the requests of late, and a few per second
//! besides, so that a backend that fails as a whole is not buried under retries of everything.
//! Nothing is sent again after the first byte of an answer went to the client, or when its body
//! is no longer there.

mod budget;

use std::time::Duration;

use http::Method;

pub use budget::{Budget, Share};

/// How a try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection could be made: the backend has seen nothing of the request.
    Connect,
    /// The connection, kept from an earlier request, was closed before the backend took anything.
    Stale,
    /// The connection ended before there was an answer.
    Reset,
    /// The try took longer than it may.
    Timeout,
    /// An answer with this status.
    Status(u16),
    /// An answer with this status of gRPC (in its header: a message without body).
    Grpc(u16),
}

/// What of a request decides.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Tries so far, at least one.
    pub tries: u32,
    /// Its body can be sent again: there is none, or all of it is kept.
    pub body_kept: bool,
    /// The client has part of an answer.
    pub answering: bool,
    /// What is left of the time for the request as a whole.
    pub time_left: Option<Duration>,
}

/// What is done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is told to the client, for this reason.
    GiveUp(&'static str),
    /// It is sent again after that time.
    Again(Duration),
}

/// When requests are sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Retries at most, beside the first try.
    pub retries: u32,
    /// Statuses that are worth another try.
    pub statuses: Vec<u16>,
    /// Statuses of gRPC that are.
    pub grpc: Vec<u16>,
    /// Connections that end before an answer are.
    pub reset: bool,
    /// A try that takes too long is.
    pub timeout: bool,
    /// Also when the method is not idempotent (RFC 9110, 9.2.2): the backend may then do it twice.
    pub any_method: bool,
    /// Before each retry, at least.
    pub least_backoff: Duration,
    /// Before the first retry, at most; each one after doubles it.
    pub backoff: Duration,
    /// What it grows to.
    pub longest_backoff: Duration,
    /// Bodies up to that many bytes are kept to be sent again.
    pub body_limit: usize,
    /// How long a try may take.
    pub per_try: Option<Duration>,
}

impl Default for Policy {
    /// Without a policy only what the backend cannot have seen is sent again, once.
    fn default() -> Self {
        Self {
            retries: 1,
            statuses: Vec::new(),
            grpc: Vec::new(),
            reset: false,
            timeout: false,
            any_method: false,
            least_backoff: Duration::ZERO,
            backoff: Duration::ZERO,
            longest_backoff: Duration::ZERO,
            body_limit: 64 * 1024,
            per_try: None,
        }
    }
}

impl Policy {
    /// Decides about `failure`. `dice` is random: who fails together does not come back together.
    #[must_use]
    pub fn decide(&self, failure: Failure, facts: &Facts<'_>, dice: u64) -> Decision {
        if facts.answering {
            return Decision::GiveUp("answering");
        }
        // What nobody has seen may be sent again whatever the method is (RFC 9110, 9.2.2).
        let unseen = match failure {
            Failure::Connect | Failure::Stale => true,
            Failure::Reset => self.seen(self.reset, facts),
            Failure::Timeout => self.seen(self.timeout, facts),
            Failure::Status(status) => self.seen(self.statuses.contains(&status), facts),
            Failure::Grpc(status) => self.seen(self.grpc.contains(&status), facts),
        };
        let nothing_sent = failure == Failure::Connect;
        let most = if nothing_sent { self.retries.max(1) } else { self.retries };
        let backoff = self.pause(facts.tries, dice);
        match () {
            () if !unseen => Decision::GiveUp("not_retriable"),
            () if !facts.body_kept && !nothing_sent => Decision::GiveUp("body_gone"),
            () if facts.tries > most => Decision::GiveUp("attempts"),
            () if facts.time_left.is_some_and(|left| left <= backoff) => Decision::GiveUp("no_time"),
            () => Decision::Again(backoff),
        }
    }

    /// The backend may have acted on the request: only if that is asked for and does no harm.
    fn seen(&self, wanted: bool, facts: &Facts<'_>) -> bool {
        wanted && (self.any_method || facts.method.is_idempotent())
    }

    /// Full jitter: anything up to the doubled back-off, as the pause before try `tries + 1`.
    fn pause(&self, tries: u32, dice: u64) -> Duration {
        let doubled = self.backoff.saturating_mul(1 << (tries.saturating_sub(1)).min(20));
        let most = doubled.min(self.longest_backoff.max(self.backoff));
        most.mul_f64((dice >> 11) as f64 / (1_u64 << 53) as f64).max(self.least_backoff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts(method: &Method) -> Facts<'_> {
        Facts { method, tries: 1, body_kept: true, answering: false, time_left: None }
    }

    fn eager() -> Policy {
        Policy {
            retries: 3,
            statuses: vec![503],
            grpc: vec![14],
            reset: true,
            backoff: Duration::from_millis(100),
            longest_backoff: Duration::from_millis(250),
            ..Policy::default()
        }
    }

    #[test]
    fn what_may_be_sent_again() {
        let again = |policy: &Policy, failure, facts: &Facts<'_>| match policy.decide(failure, facts, 0) {
            Decision::Again(_) => "again",
            Decision::GiveUp(why) => why,
        };
        let (get, post) = (Method::GET, Method::POST);
        let table = [
            (Failure::Connect, facts(&post), "again", "again"),
            (Failure::Stale, facts(&post), "again", "again"),
            (Failure::Stale, Facts { body_kept: false, ..facts(&get) }, "body_gone", "body_gone"),
            (Failure::Connect, Facts { body_kept: false, ..facts(&get) }, "again", "again"),
            (Failure::Reset, facts(&get), "not_retriable", "again"),
            (Failure::Reset, facts(&post), "not_retriable", "not_retriable"),
            (Failure::Timeout, facts(&get), "not_retriable", "not_retriable"),
            (Failure::Status(503), facts(&get), "not_retriable", "again"),
            (Failure::Status(500), facts(&get), "not_retriable", "not_retriable"),
            (Failure::Grpc(14), facts(&post), "not_retriable", "not_retriable"),
            (Failure::Connect, Facts { tries: 2, ..facts(&get) }, "attempts", "again"),
            (Failure::Connect, Facts { tries: 4, ..facts(&get) }, "attempts", "attempts"),
            (Failure::Connect, Facts { answering: true, ..facts(&get) }, "answering", "answering"),
            (Failure::Connect, Facts { time_left: Some(Duration::ZERO), ..facts(&get) }, "no_time", "no_time"),
        ];
        for (failure, facts, usual, eagerly) in table {
            assert_eq!(again(&Policy::default(), failure, &facts), usual, "{failure:?} {facts:?}");
            assert_eq!(again(&eager(), failure, &facts), eagerly, "{failure:?} {facts:?}, eager");
        }
        let any = Policy { any_method: true, ..eager() };
        assert_eq!(again(&any, Failure::Grpc(14), &facts(&post)), "again");
    }

    proptest! {
        #[test]
        fn the_pause_is_within_the_doubled_backoff(tries in 1..4_u32, dice in any::<u64>()) {
            let facts = Facts { tries, ..facts(&Method::GET) };
            let Decision::Again(pause) = eager().decide(Failure::Connect, &facts, dice) else { panic!("it may be sent again") };
            prop_assert!(pause <= Duration::from_millis([100, 200, 250][tries as usize - 1]));
        }
    }
}
