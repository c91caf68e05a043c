//! The search for devices: which ones a pod's claims get on a node.
//!
//! Invariant: pure. The first solution counts, and the order of pools, slices and devices is that of their names, so that
//! drivers can say by names what goes first. All combinations are tried until one is good: of the devices of one request
//! each set once, in that order, for its devices are interchangeable (upstream `structured/allocator`).

use std::collections::BTreeMap;

use base::quantity::Quantity;

use super::capacity;
use super::constraint::Constraint;
use super::pool::{Pool, State};
use super::request::{Choice, MOST, Mode, Want};
use super::slice::{Amounts, Device, Place, Slice};
use super::used::Used;
use crate::plan::device_taints;
use crate::scheduler::node::NodeFacts;

/// How many steps go by between two looks at the clock.
const STRIDE: u32 = 256;

/// A device for a claim.
#[derive(Debug)]
pub(super) struct Given<'a> {
    pub(super) request: usize,
    pub(super) choice: usize,
    pub(super) device: &'a Device,
    pub(super) slice: &'a Slice,
    /// What it gets of a device that is shared.
    pub(super) share: Option<Amounts>,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::scheduler) enum Stop {
    /// A claim, a class or a pool is not as it should be.
    Broken(String),
    /// No devices here, and pools that contradict themselves.
    Invalid,
    /// It took too long.
    Late,
}

/// Devices for all claims, in the order of `wants`; none when there are not enough.
///
/// # Errors
/// When the question cannot be answered; `late` says when to give up.
pub(super) fn search<'a>(
    wants: &'a [Want],
    pools: &'a [Pool<'a>],
    used: &'a Used,
    node: &'a NodeFacts,
    late: &'a dyn Fn() -> bool,
) -> Result<Option<Vec<Vec<Given<'a>>>>, Stop> {
    let mut search = Search::new(wants, pools, used, node, late)?;
    match search.request(0, 0) {
        Ok(true) => Ok(Some(search.given)),
        Ok(false) | Err(Halt::TooMany) if pools.iter().any(|pool| pool.state == State::Invalid) => Err(Stop::Invalid),
        Ok(false) | Err(Halt::TooMany) => Ok(None),
        Err(Halt::Broken(why)) => Err(Stop::Broken(why)),
        Err(Halt::Late) => Err(Stop::Late),
    }
}

/// What ends a branch of the search at once.
enum Halt {
    /// A claim would have more devices than fit into it, whichever they are.
    TooMany,
    Broken(String),
    Late,
}

type Step = Result<bool, Halt>;

/// Which device is looked for: of a claim, a request, a choice, the how manyeth.
#[derive(Clone, Copy)]
struct At {
    claim: usize,
    request: usize,
    choice: usize,
    count: usize,
}

/// A device that can be chosen, and what has become of it in this search.
struct Candidate<'a> {
    device: &'a Device,
    slice: &'a Slice,
    pool: usize,
    /// The claims that have it.
    takers: Vec<usize>,
    /// What they get, when it is shared.
    shares: Vec<Amounts>,
}

struct Search<'a> {
    wants: &'a [Want],
    pools: &'a [Pool<'a>],
    used: &'a Used,
    node: &'a NodeFacts,
    late: &'a dyn Fn() -> bool,
    candidates: Vec<Candidate<'a>>,
    /// By claim, request, choice and candidate: whether the selectors choose it.
    selected: BTreeMap<(usize, usize, usize, usize), bool>,
    /// The candidates of choices that want all.
    all: BTreeMap<(usize, usize, usize), Vec<usize>>,
    /// What is left of the counters of each pool, from when they are first needed.
    counters: Vec<Option<BTreeMap<(&'a str, &'a str), Quantity>>>,
    constraints: Vec<Vec<Constraint<'a>>>,
    given: Vec<Vec<Given<'a>>>,
    steps: u32,
}

impl<'a> Search<'a> {
    fn new(
        wants: &'a [Want],
        pools: &'a [Pool<'a>],
        used: &'a Used,
        node: &'a NodeFacts,
        late: &'a dyn Fn() -> bool,
    ) -> Result<Self, Stop> {
        let mut candidates = Vec::new();
        for (pool, one) in pools.iter().enumerate().filter(|(_, one)| one.state == State::Ready) {
            for slice in &one.slices {
                let devices = slice.devices.iter();
                candidates.extend(devices.map(|device| Candidate {
                    device,
                    slice,
                    pool,
                    takers: Vec::new(),
                    shares: Vec::new(),
                }));
            }
        }
        let constraints =
            wants.iter().map(|want| want.spec.constraints.iter().flatten().map(Constraint::new).collect()).collect();
        let mut search = Self {
            wants,
            pools,
            used,
            node,
            late,
            candidates,
            selected: BTreeMap::new(),
            all: BTreeMap::new(),
            counters: pools.iter().map(|_| None).collect(),
            constraints,
            given: wants.iter().map(|_| Vec::new()).collect(),
            steps: 0,
        };
        search.prepare()?;
        Ok(search)
    }

    /// Finds out how much "all" is, and refuses claims that never fit.
    fn prepare(&mut self) -> Result<(), Stop> {
        let wants = self.wants;
        for (claim, want) in wants.iter().enumerate() {
            let mut fewest = 0_usize;
            for (request, one) in want.requests.iter().enumerate() {
                let mut counts = Vec::new();
                for (choice, asked) in one.choices.iter().enumerate() {
                    counts.push(match asked.mode {
                        Mode::Exactly(count) => count,
                        Mode::All => {
                            let shown = if asked.name.is_empty() { &one.name } else { &asked.name };
                            self.find_all((claim, request, choice), asked, shown)?
                        }
                    });
                }
                fewest = fewest.saturating_add(counts.into_iter().min().unwrap_or(0));
            }
            if fewest > MOST {
                return Err(Stop::Broken(format!(
                    "claim {}: number of requested devices {fewest} exceeds the claim limit of {MOST}",
                    want.claim
                )));
            }
        }
        Ok(())
    }

    fn find_all(&mut self, key: (usize, usize, usize), asked: &'a Choice, shown: &str) -> Result<usize, Stop> {
        let claim = &self.wants[key.0].claim;
        for pool in self.pools {
            let state = match pool.state {
                State::Ready => continue,
                State::Incomplete => "being updated",
                State::Invalid => "invalid",
            };
            let pool = pool.name();
            return Err(Stop::Broken(format!(
                "claim {claim}, request {shown}: asks for all devices, but resource pool {pool} is currently {state}"
            )));
        }
        let mut all = Vec::new();
        let at = At { claim: key.0, request: key.1, choice: key.2, count: 0 };
        for candidate in 0..self.candidates.len() {
            match self.is_selected(at, candidate) {
                Ok(true) if self.has_capacity(asked, candidate) => all.push(candidate),
                Ok(_) => {}
                Err(Halt::Broken(why)) => return Err(Stop::Broken(why)),
                Err(Halt::TooMany | Halt::Late) => return Err(Stop::Late),
            }
        }
        let count = all.len();
        self.all.insert(key, all);
        Ok(count)
    }

    /// Satisfies the request and all that follow.
    fn request(&mut self, claim: usize, request: usize) -> Step {
        let Some(want) = self.wants.get(claim) else { return Ok(true) };
        let Some(asked) = want.requests.get(request) else {
            return match self.request(claim + 1, 0) {
                // that claim is too large, but with other choices here it may come out smaller
                Err(Halt::TooMany) => Ok(false),
                step => step,
            };
        };
        let mut always_too_many = asked.has_alternatives();
        for choice in 0..asked.choices.len() {
            match self.devices(At { claim, request, choice, count: 0 }, 0) {
                Err(Halt::TooMany) if asked.has_alternatives() => continue,
                Ok(false) => always_too_many = false,
                step => return step,
            }
        }
        if always_too_many { Err(Halt::TooMany) } else { Ok(false) }
    }

    /// Satisfies what is left of the choice with candidates from `start`, and all requests that follow.
    fn devices(&mut self, at: At, start: usize) -> Step {
        self.tick()?;
        let asked = &self.wants[at.claim].requests[at.request].choices[at.choice];
        let total = match asked.mode {
            Mode::Exactly(count) => count,
            Mode::All => self.all[&(at.claim, at.request, at.choice)].len(),
        };
        if asked.mode == Mode::All && total == 0 {
            return Ok(false); // one at least
        }
        if at.count >= total {
            return self.request(at.claim, at.request + 1);
        }
        if self.given[at.claim].len() + total - at.count > MOST {
            return Err(Halt::TooMany);
        }
        if asked.mode == Mode::All {
            let candidate = self.all[&(at.claim, at.request, at.choice)][at.count];
            return self.attempt(at, candidate);
        }
        for candidate in start..self.candidates.len() {
            if self.is_selected(at, candidate)? && self.attempt(at, candidate)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn tick(&mut self) -> Result<(), Halt> {
        self.steps = self.steps.wrapping_add(1);
        if self.steps.is_multiple_of(STRIDE) && (self.late)() { Err(Halt::Late) } else { Ok(()) }
    }

    /// Whether the selectors choose the candidate and the node reaches it. That does not change during the search.
    fn is_selected(&mut self, at: At, candidate: usize) -> Step {
        let key = (at.claim, at.request, at.choice, candidate);
        if let Some(known) = self.selected.get(&key) {
            return Ok(*known);
        }
        self.tick()?;
        let Candidate { device, slice, .. } = self.candidates[candidate];
        let asked = &self.wants[at.claim].requests[at.request].choices[at.choice];
        let reached = slice.place != Place::PerDevice || device.place.has(self.node);
        let selected = asked.selects(device).map_err(Halt::Broken)? && reached;
        self.selected.insert(key, selected);
        Ok(selected)
    }

    fn has_capacity(&self, asked: &Choice, candidate: usize) -> bool {
        let Candidate { device, shares, .. } = &self.candidates[candidate];
        capacity::fits(&asked.capacity, device, self.used.shares(&device.id).into_iter().chain(shares))
    }

    fn is_free(&self, at: At, asked: &Choice, candidate: usize) -> bool {
        let Candidate { device, takers, .. } = &self.candidates[candidate];
        if asked.admin { !takers.contains(&at.claim) } else { takers.is_empty() && !self.used.has_whole(&device.id) }
    }

    /// Gives the candidate, goes on, and takes it back if that leads nowhere.
    fn attempt(&mut self, at: At, candidate: usize) -> Step {
        let asked = &self.wants[at.claim].requests[at.request].choices[at.choice];
        let device = self.candidates[candidate].device;
        if !self.is_free(at, asked, candidate)
            || !self.has_capacity(asked, candidate)
            || device_taints::keeps_away(&device.taints, asked.tolerations.as_deref().unwrap_or_default())
        {
            return Ok(false);
        }
        // A share of a device that is in use already takes no more counters, and who only looks takes none.
        let in_use = self.used.shares(&device.id).is_some() || !self.candidates[candidate].shares.is_empty();
        let counts = !(device.consumes.is_empty() || asked.admin || device.multiple && in_use);
        if counts && !self.count(candidate) {
            return Ok(false);
        }
        if !self.constrain(at, device)? {
            if counts {
                self.uncount(candidate);
            }
            return Ok(false);
        }
        let share = device.multiple.then(|| capacity::consumed(&asked.capacity, device));
        let taken = &mut self.candidates[candidate];
        match &share {
            Some(share) => taken.shares.push(share.clone()),
            None => taken.takers.push(at.claim),
        }
        let slice = taken.slice;
        self.given[at.claim].push(Given { request: at.request, choice: at.choice, device, slice, share });
        let step = self.devices(At { count: at.count + 1, ..at }, candidate + 1);
        if !matches!(step, Ok(true)) {
            let given = self.given[at.claim].pop();
            let taken = &mut self.candidates[candidate];
            match given.and_then(|given| given.share) {
                Some(_) => drop(taken.shares.pop()),
                None => drop(taken.takers.pop()),
            }
            self.unconstrain(at, usize::MAX);
            if counts {
                self.uncount(candidate);
            }
        }
        step
    }

    /// Whether all constraints of the claim allow the device too. Who wants all devices and cannot have one is told.
    fn constrain(&mut self, at: At, device: &'a Device) -> Step {
        let want = &self.wants[at.claim];
        let request = &want.requests[at.request];
        let choice = &request.choices[at.choice];
        let full_name = request.full_name(choice);
        let constraints = &mut self.constraints[at.claim];
        let Some(broken) = constraints.iter_mut().position(|one| !one.add(&request.name, &full_name, device)) else {
            return Ok(true);
        };
        self.unconstrain(at, broken);
        if choice.mode == Mode::All {
            let shown = if choice.name.is_empty() { &request.name } else { &choice.name };
            return Err(Halt::Broken(format!(
                "claim {}, request {shown}: cannot add device {} because a claim constraint would not be satisfied",
                want.claim, device.id
            )));
        }
        Ok(false)
    }

    /// Undoes the last device in the first `count` constraints.
    fn unconstrain(&mut self, at: At, count: usize) {
        let request = &self.wants[at.claim].requests[at.request];
        let full_name = request.full_name(&request.choices[at.choice]);
        self.constraints[at.claim].iter_mut().take(count).for_each(|one| one.undo(&request.name, &full_name));
    }

    /// Takes what the candidate uses up from its pool's counters, if that is there.
    fn count(&mut self, candidate: usize) -> bool {
        let Candidate { device, pool, .. } = self.candidates[candidate];
        let (pools, used) = (self.pools, self.used);
        let left = self.counters[pool].get_or_insert_with(|| counters(&pools[pool], used));
        let enough = device.consumes.iter().flat_map(|(set, amounts)| amounts.iter().map(move |one| (set, one))).all(
            |(set, (counter, amount))| left.get(&(set.as_str(), counter.as_str())).is_some_and(|left| left >= amount),
        );
        if enough {
            draw(left, device, false);
        }
        enough
    }

    fn uncount(&mut self, candidate: usize) {
        let Candidate { device, pool, .. } = self.candidates[candidate];
        if let Some(left) = &mut self.counters[pool] {
            draw(left, device, true);
        }
    }
}

/// What devices that are given have left of the counters of a pool.
fn counters<'a>(pool: &Pool<'a>, used: &Used) -> BTreeMap<(&'a str, &'a str), Quantity> {
    let sets = pool.counters.iter();
    let mut left: BTreeMap<_, _> = sets
        .flat_map(|(set, amounts)| amounts.iter().map(move |(counter, amount)| ((*set, counter.as_str()), *amount)))
        .collect();
    let devices = pool.slices.iter().chain(&pool.others).flat_map(|slice| &slice.devices);
    for device in devices.filter(|device| used.has_whole(&device.id) || used.shares(&device.id).is_some()) {
        draw(&mut left, device, false);
    }
    left
}

fn draw<'a>(left: &mut BTreeMap<(&'a str, &'a str), Quantity>, device: &'a Device, back: bool) {
    for (set, amounts) in &device.consumes {
        for (counter, amount) in amounts {
            if let Some(left) = left.get_mut(&(set.as_str(), counter.as_str())) {
                let next = if back { left.checked_add(amount) } else { left.checked_sub(amount) };
                *left = next.unwrap_or(*left);
            }
        }
    }
}
