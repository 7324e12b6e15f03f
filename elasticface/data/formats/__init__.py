"""What data sets are kept in: folders, RecordIO, shards, verification packs."""
