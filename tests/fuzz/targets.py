"""Every parser of bytes from outside, with inputs it accepts and the errors it documents.

A parser accepts, or raises what its table row names; whatever else comes out is a bug. Where what
is accepted has one spelling, the target writes it again and compares.

`make test` takes what the repository keeps under corpus/ and a fixed handful of changed inputs for
each row; `make fuzz` and `make fuzz-long` hunt, guided by coverage. To hunt with one row for hours:

    .venv/bin/python tests/fuzz/run.py --seconds 14400 report

The input that broke something is saved, and belongs into the tests of its parser. No row for
manifest.json: nothing reads it (models/SPEC.md, section 6).
"""

from __future__ import annotations

from collections.abc import Callable

from fuzz.of_attestation import (
    authority,
    certificate_table,
    claims,
    configfs_answers,
    cose,
    crl,
    did,
    elements,
    envelope,
    evidence,
    evidence_files,
    guest_device,
    hcl_report,
    hcl_runtime,
    host_certificate,
    leaf,
    path_certificate,
    quote_document,
    report,
    server_certificate,
    tpm_quote,
    uvm,
    uvm_header,
    uvm_payload,
)
from fuzz.of_deployments import arm_template, container_config, deployment_file, pod_yaml
from fuzz.of_execution import (
    denial_in_a_log,
    host_requests,
    policy_in_any_file,
    policy_of_any_layout,
    variable_pattern,
)
from fuzz.of_inference import (
    prediction,
    prediction_answer,
    prediction_stream,
    repository_request,
)
from fuzz.of_layers import (
    image_archive,
    image_config,
    inode_attributes,
    layer_record,
    layer_tar,
    pax_records,
)
from fuzz.of_models import (
    directory,
    header,
    header_text,
    inner_archive,
    model,
    sealed_file,
    slots,
    slots_text,
)
from fuzz.of_policy import execution_policy, process_policy, release_policy, trust
from fuzz.of_services import (
    attestation_report,
    attestation_request,
    body,
    key_provider_packet,
    key_request,
    master_sealed,
    runtime_data,
    sidecar_environment,
    sidecar_request,
)
from fuzz.of_tokens import (
    answer,
    answer_certificate,
    answer_header,
    connection,
    kept_token,
    key_file,
    key_reference,
    released_key,
    token,
    token_claims,
    token_head,
    token_keys,
)
from fuzz.of_transport import grpc_headers, http2_session
from support.fuzz_mutations import Target

TARGETS: dict[str, Callable[[], Target]] = {
    target.__name__: target
    for target in (
        *(header, header_text, slots, slots_text, directory, inner_archive, sealed_file, model),
        *(report, leaf, authority, crl, elements, envelope, evidence, server_certificate, claims),
        *(host_certificate, certificate_table, guest_device, configfs_answers),
        *(cose, did, path_certificate, uvm, uvm_header, uvm_payload),
        *(hcl_report, hcl_runtime, tpm_quote, quote_document, evidence_files),
        *(token, token_head, token_claims, token_keys, answer, answer_header, answer_certificate),
        *(released_key, kept_token),
        *(key_reference, key_file, connection, body, attestation_request, attestation_report),
        *(runtime_data, sidecar_request, key_provider_packet, sidecar_environment),
        key_request,
        master_sealed,
        *(prediction, prediction_answer, prediction_stream, repository_request),
        *(http2_session, grpc_headers),
        *(layer_tar, pax_records, inode_attributes, image_archive, image_config, layer_record),
        *(trust, release_policy, execution_policy, process_policy),
        *(policy_of_any_layout, policy_in_any_file, host_requests, denial_in_a_log),
        variable_pattern,
        *(arm_template, container_config, pod_yaml, deployment_file),
    )
}
