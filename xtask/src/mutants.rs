//! Breaking the code on purpose: a check that can't fail proves nothing.
//!
//! Each mutant is one change to a copy of the workspace, which is built and handed to a proof. The proof has to find it.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{plugins, process::run, workspace::Workspace};

/// What is copied: all that a build takes.
const COPIED: [&str; 11] = [
    ".cargo",
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "benches",
    "host",
    "plugin-sdk",
    "plugins",
    "tests",
    "wit",
    "xtask",
];

const HELP: &str = "\
cargo xtask mutants [NAME...]

Breaks a copy of the code in one place at a time, and runs the proof that has to find it. Without names: all of them.
Exits with 1 if one isn't found.

";

/// A change that breaks a promise.
struct Mutant {
    name: &'static str,
    /// The promise, as it is broken.
    breaks: &'static str,
    file: &'static str,
    find: &'static str,
    replace: &'static str,
    /// The proof that has to find it, and its arguments.
    proof: &'static [&'static str],
}

const SIM: &[&str] = &["sim", "--seeds", "400"];

const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "ack-before-sync",
        breaks: "what is acknowledged is durable",
        file: "host/src/log/open.rs",
        find: "CommitMode::QuickRepair => transaction.set_quick_repair(true),",
        replace: "CommitMode::QuickRepair => drop(transaction.set_durability(redb::Durability::None)),",
        proof: SIM,
    },
    Mutant {
        name: "ack-of-a-commit-in-flight",
        breaks: "what is acknowledged is durable, large batches too",
        file: "host/src/log/in_flight.rs",
        find: "        Ok(journal.wait_for(self.moment).map_err(redb::Error::Io)?)\n",
        replace: "        drop(journal.is_over(self.moment));\n        Ok(())\n",
        proof: SIM,
    },
    Mutant {
        name: "ack-of-a-failed-commit",
        breaks: "a commit that fails is told as in doubt",
        file: "host/src/log/committer.rs",
        find: "            Err(fault) => Verdict::InDoubt(fault),\n",
        replace: "            Err(_) => Verdict::Durable,\n",
        proof: &["sync-points"],
    },
    Mutant {
        name: "progress-apart-from-effects",
        breaks: "progress and effects are one commit",
        file: "host/src/delivery/desk.rs",
        find: "        self.machine.set_timers(self.shared.log.commit(commit).await?);\n",
        replace: "        let early = LaneCommit {
            held: <_>::default(),
            dead_letters: Vec::new(),
            came: Vec::new(),
            effects: <_>::default(),
            progress: commit.progress.clone(),
            ..commit
        };
        self.shared.log.commit(early).await?;
        self.machine.set_timers(self.shared.log.commit(commit).await?);\n",
        proof: SIM,
    },
    Mutant {
        name: "held-events-as-published",
        breaks: "each delivery is of the version that its event is lifted to",
        file: "host/src/delivery/lifting.rs",
        find: ".map_or(Lifted::Wanted, Lifted::from)\n    }\n\n    /// The event is read ahead no more",
        replace: ".map_or_else(|| Lifted::Event(Arc::clone(event)), Lifted::from)\n    }\n\n    /// The event is read ahead no more",
        proof: SIM,
    },
    Mutant {
        name: "letters-as-lifted",
        breaks: "a dead letter has the event as it was published",
        file: "host/src/delivery/desk.rs",
        find: "        let Some(UnderWay { subject, started, .. }) = self.under_way.take() else { return };\n",
        replace: "        let under_way = self.under_way.take();
        let Some(UnderWay { mut subject, delivery, started, .. }) = under_way else { return };
        subject.event = Some(delivery.event);
",
        proof: SIM,
    },
    Mutant {
        name: "effects-of-a-failed-delivery",
        breaks: "a delivery that fails leaves nothing behind",
        file: "host/src/delivery/desk.rs",
        find: "            context.discard();\n",
        replace: "            context.keep();\n",
        proof: SIM,
    },
    Mutant {
        name: "hold-skipped",
        breaks: "later events of a key wait behind a retry",
        file: "host/src/delivery/holds.rs",
        find: ".is_some_and(|id| id < REDRIVEN)",
        replace: ".is_some_and(|id| id > REDRIVEN)",
        proof: SIM,
    },
    Mutant {
        name: "window-forgotten-on-open",
        breaks: "the deduplication window survives a restart",
        file: "host/src/log/load.rs",
        find: "            window.load(row.value());\n",
        replace: "",
        proof: SIM,
    },
    Mutant {
        name: "reload-ignored",
        breaks: "a new version takes over",
        file: "host/src/delivery/lane.rs",
        find: "            self.program = Arc::clone(&control.program);\n",
        replace: "",
        proof: SIM,
    },
    Mutant {
        name: "reload-in-mid-batch",
        breaks: "a new version takes over between two deliveries, and what was done before it counts",
        file: "host/src/delivery/desk.rs",
        find: "        if self.control.has_changed().unwrap_or(true) {\n",
        replace: "        if self.control.has_changed().unwrap_or(true) {
            drop(self.machine.take_changes());\n",
        proof: SIM,
    },
    Mutant {
        name: "stale-lane-commits",
        breaks: "a lane that was changed from outside commits nothing of before",
        file: "host/src/log/lane_commit.rs",
        find: "if txn.has_changed(lane) || txn.shared.lane_epoch(lane) != self.commit.epoch {",
        replace: "if lane.partition == u32::MAX {",
        proof: SIM,
    },
    Mutant {
        name: "retention-takes-what-is-held",
        breaks: "retention passes no held event",
        file: "host/src/log/retention.rs",
        find: "            need(lane, held.topic, held.offset);\n",
        replace: "",
        proof: SIM,
    },
    Mutant {
        name: "redrive-keeps-the-letter",
        breaks: "a redrive takes effect once",
        file: "host/src/log/letters.rs",
        find: "    txn.tables.dead_letters.remove((consumer.0, letter.id))?;\n",
        replace: "    if fate == Fate::Discard {
        txn.tables.dead_letters.remove((consumer.0, letter.id))?;
    }\n",
        proof: SIM,
    },
    Mutant {
        name: "dead-letter-dropped",
        breaks: "nothing is given up on without a dead letter",
        file: "host/src/delivery/machine.rs",
        find: "        self.pending.dead_letters.push(letter);\n",
        replace: "",
        proof: SIM,
    },
    Mutant {
        name: "attempt-forgotten",
        breaks: "retries are bounded",
        file: "host/src/delivery/machine.rs",
        find: "        match next_attempt(&self.config.retry, &held, now, chance) {",
        replace: "        let outcome = next_attempt(&self.config.retry, &held, now, chance);
        if held.attempts.len() == 2 {
            held.attempts.pop();
        }
        match outcome {",
        proof: SIM,
    },
    Mutant {
        name: "retry-after-ignored",
        breaks: "a retry comes no earlier than was asked",
        file: "host/src/delivery/retry.rs",
        find: ".max(asked)",
        replace: ".min(asked.max(policy.max))",
        proof: SIM,
    },
    Mutant {
        name: "ends-forgotten-on-reopening",
        breaks: "no offset is given out twice",
        file: "host/src/log/load.rs",
        find: "            partition.advance(ends.next, ends.bytes_after);\n",
        replace: "",
        proof: SIM,
    },
    Mutant {
        name: "refused-transaction-kept",
        breaks: "a transaction whose closure fails writes nothing",
        file: "host/src/log/committer.rs",
        find: "                    Ran::Undo => {
                        drop(returned);
                        transaction.abort()?;
                        return Ok((Attempt::Undone, last));
                    }\n",
        replace: "                    Ran::Undo => has_closure = true,\n",
        proof: SIM,
    },
    Mutant {
        name: "undone-events-known",
        breaks: "an event that was undone with its transaction can be published again",
        file: "host/src/log/committer.rs",
        find: "            self.windows.undo();\n",
        replace: "            self.windows.keep();\n",
        proof: SIM,
    },
    Mutant {
        name: "clock-goes-back",
        breaks: "the clock never goes back over a restart",
        file: "host/src/log/txn.rs",
        find: "number: self.commit, time: self.now,",
        replace: "number: self.commit, time: Timestamp::default(),",
        proof: SIM,
    },
    Mutant {
        name: "gap-claims-too-much",
        breaks: "a gap names what is lost, and nothing else",
        file: "host/src/log/retention.rs",
        find: "    let unread = *next..low;\n",
        replace: "    let unread = if *next < low { 0..low } else { low..low };\n",
        proof: SIM,
    },
    Mutant {
        name: "memory-trusted-after-a-failed-sync",
        breaks: "what a failed sync lost isn't built upon",
        file: "host/src/log/open.rs",
        find: "    if options.commit == CommitMode::OnePhase {\n",
        replace: "    if options.cache_bytes == 0 {\n",
        proof: SIM,
    },
    Mutant {
        name: "journal-acks-before-its-sync",
        breaks: "acknowledged means on disk",
        file: "host/src/log/journal.rs",
        find: "        self.file.sync_data()?;\n        self.at += record.len() as u64;\n",
        replace: "        self.at += record.len() as u64;\n",
        proof: SIM,
    },
    Mutant {
        name: "journal-does-older-records-again",
        breaks: "what is behind the journal's last record is older, and of no meaning",
        file: "host/src/log/journal.rs",
        find: "number: self.link.checkpoint.wrapping_add(1),",
        replace: "number: self.link.checkpoint,",
        proof: SIM,
    },
    Mutant {
        name: "journal-half-used-too-early",
        breaks: "a half of the journal is kept until the database has what stands there",
        file: "host/src/log/journal.rs",
        find: "            self.disk.wait_for(self.free)?;\n",
        replace: "",
        proof: SIM,
    },
    Mutant {
        name: "stream-version-not-checked",
        breaks: "events join an aggregate only at the version that they were decided on",
        file: "host/src/log/lane_commit.rs",
        find: "&& txn.version(&topic, key)? != *number",
        replace: "&& txn.version(&topic, key)? < *number",
        proof: SIM,
    },
    Mutant {
        name: "snapshot-of-another-layout",
        breaks: "a snapshot is of this version of the state's layout",
        file: "host/src/aggregate/rows.rs",
        find: "    hasher.write(&state_version.to_le_bytes());\n",
        replace: "",
        proof: SIM,
    },
    Mutant {
        name: "command-decided-again",
        breaks: "a command that is delivered again is known to be decided",
        file: "host/src/aggregate/keeper.rs",
        find: "if lender.batch().context().get(&outcome_key(command.offset))?.is_some()",
        replace: "if false",
        proof: SIM,
    },
    Mutant {
        name: "saga-step-in-doubt-not-undone",
        breaks: "a saga that is compensated has all undone that may have happened",
        file: "plugin-sdk/src/saga/record.rs",
        find: "matches!(self, Self::Done | Self::InDoubt)",
        replace: "matches!(self, Self::Done)",
        proof: SIM,
    },
    Mutant {
        name: "saga-apart-from-its-command",
        breaks: "a saga's record and its commands are one commit",
        file: "plugin-sdk/src/saga/turn.rs",
        find: "        self.take_steps(0)?;\n        self.keep()\n",
        replace: "        self.take_steps(0)\n",
        proof: SIM,
    },
    Mutant {
        name: "waiting-batches-not-spilled",
        breaks: "a batch that waits for its place is on the disk when the journal goes on without it",
        file: "host/src/log/committer.rs",
        find: "    let flush = shared.memtable().spill(&transaction, flush)?;\n",
        replace: "",
        proof: SIM,
    },
    Mutant {
        name: "timers-before-events",
        breaks: "a timer comes after what was accepted before it was due",
        file: "host/src/delivery/desk.rs",
        find: "if place.due >= event.appended =>",
        replace: "if place.due >= event.appended && event.offset == u64::MAX =>",
        proof: SIM,
    },
    Mutant {
        name: "timers-behind-later-events",
        breaks: "a timer that waits for its key comes before what was accepted after it was due",
        file: "host/src/delivery/machine.rs",
        find: "if self.is_held(key) { self.holds.untried(key) }",
        replace: "if self.is_held(key) { self.holds.untried(key).filter(|_| false) }",
        proof: SIM,
    },
    Mutant {
        name: "failed-timers-out-of-their-place",
        breaks: "a timer that fails is tried again before what was accepted after it was due",
        file: "host/src/delivery/machine.rs",
        find: "                let behind = self.holds.untried_after(subject.key, subject.appended);\n",
        replace: "                let behind = self.holds.untried_after(subject.key, Timestamp(i64::MAX));\n",
        proof: SIM,
    },
    Mutant {
        name: "timers-before-unread-events",
        breaks: "a timer comes after what was accepted before it was due, and not read yet",
        file: "host/src/delivery/desk/timers.rs",
        find: "if is_unsure && matches!(self.merge.next(), Next::Nothing) {",
        replace: "if is_unsure && self.read_at > now {",
        proof: SIM,
    },
    Mutant {
        name: "saga-undone-in-its-order",
        breaks: "the steps of a saga are undone in reverse order",
        file: "plugin-sdk/src/saga/turn.rs",
        find: ".iter().rposition(is_next)",
        replace: ".iter().position(is_next)",
        proof: SIM,
    },
    Mutant {
        name: "saga-step-asked-for-twice",
        breaks: "a saga asks for each step once",
        file: "plugin-sdk/src/saga/turn.rs",
        find: "            self.ask(step, Kind::Command)?;\n            if step.waits() {\n",
        replace: "            self.ask(step, Kind::Command)?;\n            self.ask(step, Kind::Command)?;\n            if step.waits() {\n",
        proof: SIM,
    },
    Mutant {
        name: "rejection-not-told",
        breaks: "each rejection is told of in the topic for them",
        file: "host/src/aggregate/keeper.rs",
        find: "        Ok(lender.batch().parts().1.publish(topic, event)?)\n",
        replace: "        if version != 0 {\n            return Ok(());\n        }\n        Ok(lender.batch().parts().1.publish(topic, event)?)\n",
        proof: SIM,
    },
    Mutant {
        name: "blobs-left-behind",
        breaks: "large data that nobody names is removed",
        file: "host/src/log/blobs.rs",
        find: "        self.state().suspects.insert(digest);\n",
        replace: "        drop(digest);\n",
        proof: SIM,
    },
    Mutant {
        name: "blob-removed-with-its-first-holder",
        breaks: "large data is there as long as somebody names it",
        file: "host/src/log/claims.rs",
        find: "if txn.tables.blobs.range(holders(digest_key(digest)))?.next().transpose()?.is_none() {",
        replace: "if digest_key(digest) != (0, 0) {",
        proof: SIM,
    },
    Mutant {
        name: "blob-not-verified",
        breaks: "large data that is damaged is told",
        file: "host/src/log/blobs.rs",
        find: "    if BlobDigest::of(&found) != digest {\n",
        replace: "    if found.is_empty() {\n",
        proof: SIM,
    },
    Mutant {
        name: "letters-without-their-data",
        breaks: "a dead letter keeps its data when retention has removed its event",
        file: "host/src/log/lane_commit.rs",
        find: "claims::add_of(&mut txn.tables, holder, letter.event.as_deref())?;",
        replace: "claims::add_of(&mut txn.tables, holder, None)?;",
        proof: SIM,
    },
];

/// Two that the short form runs: one for each of two proofs.
const SHORT: [&str; 2] = ["ack-of-a-failed-commit", "progress-apart-from-effects"];

/// Runs the mutants of these names, or all of them.
pub fn run_with(workspace: &Workspace, names: &[String]) -> Result<()> {
    if let [help] = names
        && (help == "--help" || help == "-h")
    {
        print!("{HELP}");
        for mutant in MUTANTS {
            println!("  {:<36} {}", mutant.name, mutant.breaks);
        }
        return Ok(());
    }
    if let Some(name) = names.iter().find(|name| MUTANTS.iter().all(|mutant| mutant.name != *name)) {
        bail!("there is no mutant `{name}`: `cargo xtask mutants --help` lists them");
    }
    let copy = workspace.target().join("mutants");
    let (mut found, mut survived) = (0, Vec::new());
    for mutant in
        MUTANTS.iter().filter(|mutant| names.is_empty() || names.iter().any(|name| name == mutant.name))
    {
        // Anew for each, so that nothing is left of the one before.
        for name in COPIED {
            update(&workspace.root().join(name), &copy.join(name))?;
        }
        set_apart(&copy)?;
        mutant.plant(&copy)?;
        if mutant.is_found(workspace, &copy)? {
            println!("found: {}: {}", mutant.name, mutant.breaks);
            found += 1;
        } else {
            println!("NOT FOUND: {}: {}", mutant.name, mutant.breaks);
            survived.push(mutant.name);
        }
    }
    ensure!(
        survived.is_empty(),
        "mutants: {found} found, {} not found: {}",
        survived.len(),
        survived.join(", ")
    );
    println!("mutants: {found} planted, {found} found");
    Ok(())
}

/// Two of them.
pub fn run_short(workspace: &Workspace) -> Result<()> {
    run_with(workspace, &SHORT.map(ToOwned::to_owned))
}

impl Mutant {
    fn plant(&self, copy: &Path) -> Result<()> {
        let path = copy.join(self.file);
        let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        let places = text.matches(self.find).count();
        ensure!(
            places == 1,
            "mutant `{}`: its place is {places} times in {}: mend the mutant",
            self.name,
            self.file
        );
        fs::write(&path, text.replace(self.find, self.replace))?;
        Ok(())
    }

    /// Builds the copy, and has the proof look at it.
    fn is_found(&self, workspace: &Workspace, copy: &Path) -> Result<bool> {
        // What the workspace is built of serves the copy, too; only its own crates are compiled for it.
        let target = workspace.target();
        run(workspace
            .cargo()
            .current_dir(copy)
            .args([
                "build",
                "--workspace",
                "--exclude",
                plugins::GUESTS,
                "--bin",
                "proof",
                // Its lock file has the versions of the workspace's own crates.
                "--offline",
                "--quiet",
            ])
            .arg("--target-dir")
            .arg(&target))
        .with_context(|| format!("mutant `{}` doesn't compile: mend it", self.name))?;
        let proof = target.join("debug").join(format!("proof{}", std::env::consts::EXE_SUFFIX));
        let output = Command::new(&proof).args(self.proof).current_dir(copy).output()?;
        // It lies where the workspace's own lies, and nobody is to take it for that.
        fs::remove_file(&proof)?;
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => Ok(false),
            Some(1) => {
                println!("{}", said.lines().next().unwrap_or_default());
                Ok(true)
            }
            _ => bail!("mutant `{}`: the proof ended with {}: {said}", self.name, output.status),
        }
    }
}

/// Gives the crates of the copy a version of their own. Their place within a workspace and their version are all by which cargo tells
/// what it has built of crates, so that it would take a mutant for what is built of the workspace.
fn set_apart(copy: &Path) -> Result<()> {
    let manifest = copy.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).with_context(|| format!("{}", manifest.display()))?;
    let (before, rest) = text.split_once("\nversion = \"").context("the workspace has no version")?;
    let (version, after) = rest.split_once('"').context("the version of the workspace has no end")?;
    fs::write(&manifest, format!("{before}\nversion = \"{version}+mutant\"{after}"))?;
    Ok(())
}

/// Makes `to` the same as `from`. Files that are the same stay untouched, so that what was built of them stays fresh.
fn update(from: &Path, to: &Path) -> Result<()> {
    if !from.exists() {
        return Ok(());
    }
    if from.is_file() {
        let bytes = fs::read(from)?;
        if fs::read(to).ok().as_deref() != Some(&bytes) {
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(to, bytes)?;
        }
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        update(&entry.path(), &to.join(entry.file_name()))?;
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if !from.join(entry.file_name()).exists() {
            if entry.path().is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_text_of_each_mutant_is_in_its_file_once() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for mutant in MUTANTS {
            let text = fs::read_to_string(root.join(mutant.file)).unwrap();
            assert_eq!(text.matches(mutant.find).count(), 1, "{} in {}", mutant.name, mutant.file);
        }
    }
}
