//! Partitions of a trail: shown, split and merged.

use std::sync::Arc;

use super::{
    Appender, PartitionChange, PartitionMap, Principal, RepartitionError, Task, TrailError, TrailName, Trails, Verb,
};
use crate::tasks::Panicked;
use crate::trail::{AppendError, Writer};

impl Trails {
    /// The partitions of a trail as they are now.
    pub fn partitions(&self, principal: Principal<'_>, name: &TrailName) -> Result<Arc<PartitionMap>, TrailError> {
        principal.check_seeing(name)?;
        Ok(self.known(name)?.served()?.partitions())
    }

    /// Splits or merges partitions of a trail that is put into, behind everything that was put so far: what is closed is never
    /// written to again. Puts wait meanwhile.
    pub async fn change_partitions(
        &self,
        principal: Principal<'_>,
        name: &TrailName,
        change: PartitionChange,
    ) -> Result<Arc<PartitionMap>, TrailError> {
        principal.check_trail(Verb::Manage, name)?;
        let entry = self.known(name)?;
        let trail = entry.served()?;
        if trail.description().writer != Writer::Puts {
            return Err(RepartitionError::Captured(trail.description().writer.to_string()).into());
        }
        let mut end = entry.puts.lock().await;
        if *entry.gone.borrow() {
            return Err(TrailError::Leaving(name.clone()));
        }
        let held = end.take().filter(|appender| !appender.has_stopped());
        let mut appender: Appender = match held {
            Some(appender) => appender,
            None => trail.appender_async().await?,
        };
        let settled = settle(&mut appender).await;
        if let Err(error) = settled {
            return Err(RepartitionError::Append(error).into());
        }
        // It owns the trail's end until it is done, whoever stops waiting for it.
        let changing = tokio::task::spawn_blocking(move || {
            let changed = appender.change_partitions(change);
            (appender, changed)
        });
        let (appender, changed) = changing.await.map_err(|_| {
            Task::Request.note_panic();
            Panicked
        })?;
        *end = Some(appender).filter(|appender| !appender.has_stopped());
        let changed = changed?;
        tracing::info!(trail = %name, open = changed.open().len(), "partitions changed");
        Ok(changed)
    }
}

/// Sees to it that everything is durable.
async fn settle(appender: &mut Appender) -> Result<(), AppendError> {
    // A put whose caller went away may have left its transaction open.
    appender.abort().await?;
    appender.hand_over().await?;
    appender.wait_durable(appender.next_commit() - 1).await
}
