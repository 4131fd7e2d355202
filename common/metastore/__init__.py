"""Where the cluster's few shared facts live: one interface (`base`), several stores; which facts is left to callers."""
