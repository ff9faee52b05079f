"""SQL: the truth about batches, jobs, attempts, workers, prices and the ledger."""
