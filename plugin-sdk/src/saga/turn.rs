//! One transition of a saga: what a delivery does to its record, the commands that it publishes, and what it waits for then.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::{Phase, Record, Status, StepRecord, What, state_key};
use super::step::{Command, Kind, SagaContext, Step};
use crate::{Attribute, Event, Failure, Host, Raw, Timestamp};

/// The timer that says that a saga has waited long enough.
pub(super) const TIMER: &str = "saga";
/// The extension attribute of a command that names its step.
const STEP: &str = "sagastep";
/// What the ids of commands begin with.
pub(super) const COMMANDS: &str = "saga/";

/// The last moment that a timer can be set for, at the end of the year 9999: a step may wait for ever.
const LAST: Timestamp = Timestamp::from_micros(253_402_300_799_999_999);

/// What the timer comes with.
#[derive(Deserialize, Serialize)]
struct Due {
    turn: u64,
    /// Tells the saga from one of the same id that is forgotten, which counted its turns as well.
    began: i64,
}

/// A saga in a delivery.
pub(super) struct Turn<'a, D> {
    pub id: &'a str,
    pub steps: &'a [Step<D>],
    /// How long it is kept when it has ended.
    pub kept: Duration,
    pub record: Record<D>,
    pub host: &'a mut dyn Host,
}

impl<'a, D: Serialize> Turn<'a, D> {
    /// It begins.
    pub fn begin(mut self, event: &Event) -> Result<(), Failure> {
        self.note(What::Began, None, Some(event));
        self.take_steps(0)?;
        self.keep()
    }

    /// An event has come that is known to a step.
    pub fn event(mut self, event: &Event) -> Result<(), Failure> {
        if !self.says_something(event)? {
            self.ignore(event);
        }
        self.keep()
    }

    /// An event has come that would begin it.
    pub fn begins_again(mut self, event: &Event) -> Result<(), Failure> {
        self.ignore(event);
        self.keep()
    }

    /// Its timer has come.
    pub fn timer(mut self, data: &Raw) -> Result<(), Failure> {
        let due = match data {
            Raw::Json(json) => serde_json::from_str::<Due>(json).ok(),
            _ => None,
        };
        // One that an operator has put back to work, and that the saga doesn't wait for any more.
        let (turn, began) = (self.record.turn, self.record.began);
        if due.is_none_or(|due| (due.turn, due.began) != (turn, began)) {
            crate::debug!(self.host, "a timer of saga {} is out of date", self.id);
            return Ok(());
        }
        match self.record.phase.clone() {
            Phase::Running { step } => {
                self.note(What::TimedOut, Some(&step), None);
                self.give_up(&step, format!("the time of step `{step}` was up"))?;
            }
            Phase::Compensating { step: name } => match self.step(&name) {
                Some(step) if !step.gives_up_after(self.record.attempt) => self.ask_to_compensate(step)?,
                Some(_) => {
                    let why =
                        format!("step `{name}` was not compensated after {} attempts", self.record.attempt);
                    self.set_aside(name, why)?;
                }
                None => self.set_aside_without(name)?,
            },
            Phase::Completed | Phase::Compensated => {
                return Ok(self.host.delete(state_key(self.id).as_bytes())?);
            }
            Phase::Stuck { .. } => {}
        }
        self.keep()
    }

    /// An operator has it ask again.
    pub fn retry(mut self) -> Result<(), Failure> {
        let Some(name) = self.record.phase.step().map(str::to_owned) else {
            self.note(What::Ignored, None, None);
            return self.keep();
        };
        self.note(What::OperatorRetried, Some(&name), None);
        match (self.status(&name), self.step(&name)) {
            (Some(Status::Asked), Some(step)) => {
                if self.is_stuck() {
                    self.enter(Phase::Running { step: name });
                }
                self.ask(step, Kind::Command)?;
                self.wait(step.timeout())?;
            }
            (Some(Status::Compensating), Some(step)) => {
                self.enter(Phase::Compensating { step: name });
                self.ask_to_compensate(step)?;
            }
            (Some(Status::Asked | Status::Compensating), None) => self.set_aside_without(name)?,
            _ => self.compensate_next()?,
        }
        self.keep()
    }

    /// An operator has it compensated.
    pub fn compensate(mut self) -> Result<(), Failure> {
        let step = self.record.phase.step().map(str::to_owned);
        let status = step.as_deref().and_then(|step| self.status(step));
        if let (Some(step), Some(Status::Asked)) = (&step, status) {
            self.note(What::OperatorCompensated, Some(step), None);
            self.give_up(step, "an operator had it compensated".to_owned())?;
        } else {
            self.note(What::Ignored, step.as_deref(), None);
        }
        self.keep()
    }

    /// An operator has seen to it that nothing is left of the step where it is stuck.
    pub fn resolve(mut self) -> Result<(), Failure> {
        let step = self.record.phase.step().map(str::to_owned);
        match step.filter(|_| self.is_stuck()) {
            Some(step) => {
                self.note(What::OperatorResolved, Some(&step), None);
                self.becomes(&step, Status::Compensated);
                let by_operator = || "an operator had it compensated".to_owned();
                self.record.failure.get_or_insert_with(by_operator);
                self.compensate_next()?;
            }
            None => self.note(What::Ignored, None, None),
        }
        self.keep()
    }

    /// Does what an event says. Returns whether it says something, in the state in which the saga is.
    fn says_something(&mut self, event: &Event) -> Result<bool, Failure> {
        let Some(name) = self.record.phase.step().map(str::to_owned) else { return Ok(false) };
        let Some(step) = self.step(&name) else { return Ok(false) };
        let event_type = event.event_type.as_str();
        match self.status(&name) {
            Some(Status::Asked) if self.answers(event, &name, Kind::Command) => {
                if let Some(learn) = step.success(event_type) {
                    learn(&mut self.record.data, event)?;
                    self.note(What::Succeeded, Some(&name), Some(event));
                    self.becomes(&name, Status::Done);
                    let next = self.steps.iter().position(|step| step.name() == name).map_or(0, |at| at + 1);
                    self.take_steps(next)?;
                    return Ok(true);
                }
                if step.fails(event_type) {
                    self.note(What::Failed, Some(&name), Some(event));
                    self.becomes(&name, Status::Failed);
                    self.fail(format!("step `{name}` failed: {event_type}"));
                    self.compensate_next()?;
                    return Ok(true);
                }
            }
            // Late answers count while it waits for an operator, too.
            Some(Status::Compensating) if self.answers(event, &name, Kind::Compensation) => {
                if step.is_compensated_by(event_type) {
                    self.note(What::CompensationSucceeded, Some(&name), Some(event));
                    self.becomes(&name, Status::Compensated);
                    self.compensate_next()?;
                    return Ok(true);
                }
                if step.compensation_fails(event_type) && !self.is_stuck() {
                    self.note(What::CompensationFailed, Some(&name), Some(event));
                    let why = format!("the compensation of step `{name}` failed: {event_type}");
                    self.set_aside(name, why)?;
                    return Ok(true);
                }
            }
            _ => {}
        }
        Ok(false)
    }

    /// Takes steps from here on, up to one that has to be waited for.
    fn take_steps(&mut self, first: usize) -> Result<(), Failure> {
        for step in self.steps.iter().skip(first) {
            let name = step.name().to_owned();
            // This version may have it behind steps that it came before when it was taken.
            if self.record.taken(&name).is_some() {
                continue;
            }
            self.record.steps.push(StepRecord {
                name: name.clone(),
                status: Status::Asked,
                commands: 0,
                compensations: 0,
            });
            self.enter(Phase::Running { step: name.clone() });
            self.ask(step, Kind::Command)?;
            if step.waits() {
                return self.wait(step.timeout());
            }
            self.becomes(&name, Status::Done);
        }
        self.end(Phase::Completed, What::Completed)
    }

    /// Doesn't wait for a step any more, and has all compensated that was done.
    fn give_up(&mut self, step: &str, why: String) -> Result<(), Failure> {
        self.becomes(step, Status::InDoubt);
        self.fail(why);
        self.compensate_next()
    }

    /// Notes why it is compensated from now on.
    fn fail(&mut self, why: String) {
        self.record.failure = Some(why.clone());
        self.record.why = Some(why);
    }

    /// Asks for steps to be undone, the last one first, up to one that has to be waited for.
    fn compensate_next(&mut self) -> Result<(), Failure> {
        let is_next = |taken: &StepRecord| taken.status.needs_compensation();
        while let Some(at) = self.record.steps.iter().rposition(is_next) {
            let name = self.record.steps[at].name.clone();
            let Some(step) = self.step(&name) else { return self.set_aside_without(name) };
            if step.make(Kind::Compensation).is_none() {
                self.note(What::NotCompensated, Some(&name), None);
                self.becomes(&name, Status::NotCompensated);
                continue;
            }
            self.enter(Phase::Compensating { step: name.clone() });
            if step.waits_for_compensation() {
                self.becomes(&name, Status::Compensating);
                return self.ask_to_compensate(step);
            }
            self.ask(step, Kind::Compensation)?;
            self.becomes(&name, Status::Compensated);
        }
        self.end(Phase::Compensated, What::Compensated)
    }

    fn ask_to_compensate(&mut self, step: &Step<D>) -> Result<(), Failure> {
        // A version since may have none any more.
        if step.make(Kind::Compensation).is_none() {
            self.note(What::NotCompensated, Some(step.name()), None);
            self.becomes(step.name(), Status::NotCompensated);
            return self.compensate_next();
        }
        self.ask(step, Kind::Compensation)?;
        self.wait(step.compensation_wait(self.record.attempt))
    }

    /// Publishes a command, where there is one.
    fn ask(&mut self, step: &Step<D>, kind: Kind) -> Result<(), Failure> {
        let name = step.name();
        self.record.attempt = self.record.attempt.saturating_add(1);
        let made = match step.make(kind) {
            Some(make) => Some(make(&self.record.data, &SagaContext { id: self.id, host: &*self.host })?),
            None => None,
        };
        let prefix = self.commands_of(name, kind);
        let count = self.record.taken_mut(name).map_or(0, |taken| match kind {
            Kind::Command => {
                taken.commands = taken.commands.saturating_add(1);
                taken.commands
            }
            Kind::Compensation => {
                taken.compensations = taken.compensations.saturating_add(1);
                taken.compensations
            }
        });
        let id = made.is_some().then(|| format!("{prefix}{count}"));
        if let (Some(Command { topic, event }), Some(id)) = (made, &id) {
            let event = event.id(id).extension("correlationid", self.id).extension(STEP, name);
            self.host.publish(&topic, event)?;
        }
        let what = match kind {
            Kind::Command => What::Asked,
            Kind::Compensation => What::CompensationAsked,
        };
        let now = self.host.now();
        self.record.note_asked(now, what, name, id);
        Ok(())
    }

    /// What the ids of a step's commands begin with; a number follows. They repeat when a delivery is repeated, and never
    /// otherwise: `began` tells a saga from one of the same id that was forgotten.
    fn commands_of(&self, step: &str, kind: Kind) -> String {
        let Self { id, record: Record { began, .. }, .. } = self;
        let consumer = self.host.consumer();
        match kind {
            Kind::Command => format!("{COMMANDS}{consumer}/{id}/{began}/{step}/"),
            Kind::Compensation => format!("{COMMANDS}{consumer}/{id}/{began}/{step}/compensation/"),
        }
    }

    /// Whether an event may be the answer to a step's command. Where its `causationid` names a command of a saga, it has to be one
    /// of this step; participants elsewhere may not say what caused it, and then its type has to do.
    fn answers(&self, event: &Event, step: &str, kind: Kind) -> bool {
        let cause = event.extension("causationid").and_then(Attribute::as_str).unwrap_or_default();
        if !cause.starts_with(COMMANDS) {
            return true;
        }
        let number = cause.strip_prefix(&self.commands_of(step, kind));
        number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    }

    /// Waits for so long, in place of what it waited for before.
    fn wait(&mut self, time: Duration) -> Result<(), Failure> {
        self.record.turn += 1;
        let due = self.host.now().after(time).min(LAST);
        let Record { turn, began, .. } = self.record;
        Ok(self.host.set_timer(TIMER, due, Raw::json(&Due { turn, began })?)?)
    }

    fn end(&mut self, phase: Phase, what: What) -> Result<(), Failure> {
        self.enter(phase);
        self.note(what, None, None);
        self.wait(self.kept)
    }

    /// Leaves it to an operator.
    fn set_aside(&mut self, step: String, why: String) -> Result<(), Failure> {
        crate::error!(self.host, "saga {} is stuck: {why}", self.id);
        self.note(What::Stuck, Some(&step), None);
        self.enter(Phase::Stuck { step });
        self.record.why = Some(why);
        Ok(self.host.cancel_timer(TIMER)?)
    }

    fn set_aside_without(&mut self, step: String) -> Result<(), Failure> {
        let why = format!("this version of the plugin has no step `{step}`: take one that does, and retry");
        self.set_aside(step, why)
    }

    fn ignore(&mut self, event: &Event) {
        let step = self.record.phase.step().map(str::to_owned);
        self.note(What::Ignored, step.as_deref(), Some(event));
    }

    fn enter(&mut self, phase: Phase) {
        // Why it was stuck says nothing of it any more.
        if self.is_stuck() {
            self.record.why.clone_from(&self.record.failure);
        }
        self.record.phase = phase;
        self.record.since = self.host.now().as_micros();
        self.record.attempt = 0;
    }

    fn is_stuck(&self) -> bool {
        matches!(self.record.phase, Phase::Stuck { .. })
    }

    fn status(&self, step: &str) -> Option<Status> {
        self.record.taken(step).map(|taken| taken.status)
    }

    fn becomes(&mut self, step: &str, status: Status) {
        if let Some(taken) = self.record.taken_mut(step) {
            taken.status = status;
        }
    }

    fn step(&self, name: &str) -> Option<&'a Step<D>> {
        self.steps.iter().find(|step| step.name() == name)
    }

    fn note(&mut self, what: What, step: Option<&str>, event: Option<&Event>) {
        let now = self.host.now();
        self.record.note(now, what, step, event);
    }

    fn keep(self) -> Result<(), Failure> {
        Ok(self.host.set_json(state_key(self.id), &self.record)?)
    }
}
