//! Mappings that wait. The dynamic loader maps a library whole, and then its parts over that,
//! before it looks at any of it: they are applied together, with the next change of another
//! kind or by the first access, which is a fault.

use super::vma::{Sharing, Source, flag};
use super::{Mm, map::MapRequest, map::Placement};
use chitin_platform::{Backing, MapOp, Populate};
use std::ops::Range;

/// Most changes that wait.
const MOST: usize = 64;

/// Changes to addresses where nothing is mapped yet.
#[derive(Debug)]
pub(super) struct Waiting {
    range: Range<u64>,
    ops: Vec<MapOp>,
}

impl Waiting {
    /// Leaves out what another mapping is going to replace.
    fn cut(&mut self, range: &Range<u64>) {
        let ops = std::mem::take(&mut self.ops);
        self.ops = ops.into_iter().flat_map(|op| without(op, range)).flatten().collect();
    }
}

/// What is left of an operation on the left and on the right of a range.
fn without(op: MapOp, range: &Range<u64>) -> [Option<MapOp>; 2] {
    let MapOp::Map { addr, len, prot, backing, populate } = op else { return [Some(op), None] };
    let part = |from: u64, to: u64| {
        let by = from - addr;
        let backing = match backing.clone() {
            Backing::Memory(offset) => Backing::Memory(offset + by),
            Backing::File { file, offset, shared } => {
                Backing::File { file, offset: offset + by, shared }
            }
        };
        (from < to).then(|| MapOp::Map { addr: from, len: to - from, prot, backing, populate })
    };
    let end = addr + len;
    if range.end <= addr || end <= range.start {
        return [part(addr, end), None];
    }
    [part(addr, range.start.max(addr)), part(range.end.min(end), end)]
}

impl Mm {
    /// Lets the mapping of an area wait if its file's other parts are to follow; gives the
    /// operations back if not.
    pub(super) fn wait(
        &self,
        request: &MapRequest,
        vma: Range<u64>,
        source: &Source,
        ops: Vec<MapOp>,
    ) -> Result<(), Vec<MapOp>> {
        let mut waiting = self.waiting.lock();
        if let Some(waiting) = &mut *waiting {
            waiting.cut(&vma);
        }
        let only_read = request.sharing == Sharing::Private && !request.prot.write;
        if !only_read
            || !matches!(source, Source::File(_))
            || request.flags & (flag::PARTS | flag::LOCKED) != flag::PARTS
            || request.populate != Populate::Lazy
            || self.deferred.lock().is_some()
        {
            return Err(ops);
        }
        match (&mut *waiting, request.place) {
            (Some(waiting), Placement::Fixed(_))
                if waiting.range.start <= vma.start
                    && vma.end <= waiting.range.end
                    && waiting.ops.len() + ops.len() <= MOST =>
            {
                waiting.ops.extend(ops);
            }
            (none @ None, Placement::Hint(_)) => *none = Some(Waiting { range: vma, ops }),
            _ => return Err(ops),
        }
        Ok(())
    }

    /// What waits, for whoever applies something else.
    pub(super) fn take_waiting(&self) -> Vec<MapOp> {
        self.waiting.lock().take().map(|waiting| waiting.ops).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chitin_platform::Prot;

    fn map(addr: u64, len: u64, offset: u64) -> MapOp {
        let (prot, populate) = (Prot::RX, Populate::Lazy);
        MapOp::Map { addr, len, prot, backing: Backing::Memory(offset), populate }
    }

    fn places(waiting: &Waiting) -> Vec<(u64, u64, u64)> {
        let place = |op: &MapOp| match op {
            MapOp::Map { addr, len, backing: Backing::Memory(offset), .. } => {
                (*addr, *len, *offset)
            }
            _ => (0, 0, 0),
        };
        waiting.ops.iter().map(place).collect()
    }

    #[test]
    fn what_is_replaced_is_left_out() {
        let mut waiting = Waiting { range: 100..200, ops: vec![map(100, 100, 1000)] };
        waiting.cut(&(300..400));
        assert_eq!(places(&waiting), [(100, 100, 1000)]);
        waiting.cut(&(120..140));
        assert_eq!(places(&waiting), [(100, 20, 1000), (140, 60, 1040)]);
        waiting.ops.push(map(120, 20, 5000));
        waiting.cut(&(130..200));
        assert_eq!(places(&waiting), [(100, 20, 1000), (120, 10, 5000)]);
        waiting.cut(&(0..300));
        assert_eq!(places(&waiting), []);
    }
}
