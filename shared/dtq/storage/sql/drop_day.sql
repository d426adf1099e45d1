-- Drop a detached partition. {old}: its name. Result: none.
DROP TABLE dtq.{old}
