"""Names both sides must agree on: method paths, the metadata key, the name in every certificate."""

from __future__ import annotations

INFERENCE_SERVICE = "inference.GRPCInferenceService"
ATTESTATION_SERVICE = "sealserve.v1.Attestation"

SERVER_LIVE = f"/{INFERENCE_SERVICE}/ServerLive"
SERVER_READY = f"/{INFERENCE_SERVICE}/ServerReady"
SERVER_METADATA = f"/{INFERENCE_SERVICE}/ServerMetadata"
MODEL_READY = f"/{INFERENCE_SERVICE}/ModelReady"
MODEL_METADATA = f"/{INFERENCE_SERVICE}/ModelMetadata"
MODEL_INFER = f"/{INFERENCE_SERVICE}/ModelInfer"
MODEL_STREAM_INFER = f"/{INFERENCE_SERVICE}/ModelStreamInfer"
MODEL_CONFIG = f"/{INFERENCE_SERVICE}/ModelConfig"
MODEL_STATISTICS = f"/{INFERENCE_SERVICE}/ModelStatistics"
REPOSITORY_INDEX = f"/{INFERENCE_SERVICE}/RepositoryIndex"
REPOSITORY_MODEL_LOAD = f"/{INFERENCE_SERVICE}/RepositoryModelLoad"
REPOSITORY_MODEL_UNLOAD = f"/{INFERENCE_SERVICE}/RepositoryModelUnload"
GET_EVIDENCE = f"/{ATTESTATION_SERVICE}/GetEvidence"

# Request and answer metadata: hex of the root of the model that is meant, or that answered.
MODEL_ROOT_KEY = "sealserve-model-root"
# gRPC's own key (gRFC A6): how long a caller should wait before it tries again.
RETRY_PUSHBACK_KEY = "grpc-retry-pushback-ms"

# Every server certificate carries this name and no other, so that one channel can span replicas.
SERVER_NAME = "sealserve.internal"
NONCE_BYTES = 32
DEFAULT_PORT = 8001
