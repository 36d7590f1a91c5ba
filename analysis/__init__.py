"""What a search showed: records, leaderboards."""
