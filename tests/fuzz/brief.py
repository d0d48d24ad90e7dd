"""Which targets `make check` hunts with for a short while only."""

from __future__ import annotations

# What is read behind a signature, from a person's own disk, or by a service on loopback: these take
# their turn for `--brief` seconds. Whatever else there is takes bytes of anybody.
BRIEF = {
    *("model", "authority", "evidence", "server_certificate"),
    *("token", "token_head", "token_claims", "token_keys"),
    *("answer", "answer_header", "answer_certificate", "released_key"),
    *("key_reference", "key_file", "connection"),
    *("guest_device", "configfs_answers", "evidence_files"),
    *("sidecar_request", "sidecar_environment", "key_provider_packet", "runtime_data"),
    *("body", "attestation_request", "attestation_report", "key_request"),
    *("release_policy", "execution_policy", "process_policy"),
    *("arm_template", "container_config", "pod_yaml"),
    *("policy_of_any_layout", "policy_in_any_file", "variable_pattern", "deployment_file"),
    *("host_requests", "kept_token", "master_sealed"),
    *("image_config", "inode_attributes", "layer_record", "pax_records"),
    *("prediction_answer", "repository_request"),
}
