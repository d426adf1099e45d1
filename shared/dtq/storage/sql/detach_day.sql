-- Take a partition out of dtq.jobs. {part}: its name; {old}: the name it gets, so that a late job's day can be made anew.
-- Needs the strongest lock, though for an instant; gives up after two seconds rather than hold up every insert behind a
-- long query, and the next maintenance tries again.
-- Result: none.
SET LOCAL lock_timeout = '2s';
ALTER TABLE dtq.jobs DETACH PARTITION dtq.{part};
ALTER TABLE dtq.{part} RENAME TO {old};
