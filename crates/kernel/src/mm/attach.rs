//! Areas that show segments of shared memory (`shmat(2)`).

use super::vma::{Source, Vma};
use super::{Mm, PAGE};
use crate::ipc::Attachment;
use std::ops::Range;
use std::sync::Arc;

impl Mm {
    /// Where the segment is that was attached at an address: its areas that are still where
    /// they were put (`shmdt(2)`).
    pub(crate) fn attached_at(&self, addr: u64) -> Option<(i32, Vec<Range<u64>>)> {
        let state = self.state.read();
        let mut found: Option<(i32, u64)> = None;
        let mut ranges = Vec::new();
        for vma in state.areas.overlapping(addr..super::USER_END) {
            if found.is_some_and(|(_, end)| vma.start >= end) {
                break;
            }
            let Source::File(part) = &vma.source else { continue };
            let Some(attached) = &part.attached else { continue };
            let in_place = vma.start.checked_sub(addr) == Some(part.offset);
            if !in_place || found.is_some_and(|(id, _)| id != attached.id()) {
                continue;
            }
            let size = part.map.size().next_multiple_of(PAGE);
            found = Some((attached.id(), addr.saturating_add(size)));
            ranges.push(vma.start..vma.end);
        }
        found.map(|(id, _)| (id, ranges))
    }
}

/// Takes what counts attachments from areas that are no longer there: segments are detached
/// at once, whenever the host's mappings go.
pub(super) fn detach(areas: &mut [Vma]) -> Vec<Arc<Attachment>> {
    let mut detached = Vec::new();
    for vma in areas {
        if let Source::File(part) = &mut vma.source
            && let Some(attached) = part.attached.take()
        {
            detached.push(attached);
        }
    }
    detached
}

/// Counts the attachments of a fork's child.
pub(super) fn attach_again(area: &mut Vma) {
    if let Source::File(part) = &mut area.source
        && let Some(attached) = &mut part.attached
    {
        *attached = attached.another();
    }
}
