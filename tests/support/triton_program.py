"""A program written for `tritonclient`, as its users write them: URL MODEL INPUT.npy

Prints what it was told. A test runs it as it stands, and with one line changed.
"""

from __future__ import annotations

import json
import queue
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient  # type: ignore[import-not-found]

VOLATILE = {"last_inference", "ns"}  # times, which no two runs share


def show(what: str, value: Any) -> None:
    sys.stdout.write(f"{what} {json.dumps(value, sort_keys=True)}\n")


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in VOLATILE}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def given(x: Any, datatype: str = "FP32") -> Any:
    tensor = grpcclient.InferInput("x", list(x.shape), datatype)
    return [tensor.set_data_from_numpy(x)]


def answers(result: Any) -> dict[str, Any]:
    response = result.get_response()
    found: dict[str, Any] = {"id": response.id, "model": response.model_name}
    for output in response.outputs:
        array = result.as_numpy(output.name)
        found[output.name] = [str(array.dtype), list(array.shape), array.tolist()]
    return found


def failing(what: str, work: Any) -> None:
    try:
        work()
    except grpcclient.InferenceServerException as error:
        # A mistake that no server saw has words of the library's own.
        text = error.message() if error.status() else ""
        show(what, [error.status(), text, str(error).startswith("[StatusCode.")])
    else:
        show(what, "no failure")


def main(url: str, model: str, path: str) -> None:
    x = np.load(path)[:4].astype(np.float32)
    client = grpcclient.InferenceServerClient(url=url)

    show("live", client.is_server_live())
    show("ready", client.is_server_ready())
    show("model ready", [client.is_model_ready(model), client.is_model_ready(model, "99")])
    show("server", client.get_server_metadata(as_json=True))
    show("model", client.get_model_metadata(model, as_json=True))
    show("inputs", [spec.name for spec in client.get_model_metadata(model).inputs])
    show("config", client.get_model_config(model, as_json=True))
    show("index", client.get_model_repository_index(as_json=True))

    show("infer", answers(client.infer(model, given(x), request_id="7")))
    wanted = [grpcclient.InferRequestedOutput("label")]
    show("one output", answers(client.infer(model, given(x[:1]), outputs=wanted)))
    show("no such output", client.infer(model, given(x)).as_numpy("nothing") is None)

    done: queue.Queue[Any] = queue.Queue()
    for number in range(5):
        client.async_infer(
            model,
            given(x),
            lambda result, error: done.put((result, error)),
            request_id=str(number),
        )
    outcomes = [done.get(timeout=20) for _ in range(5)]
    show("async", sorted(answers(result)["id"] for result, error in outcomes if error is None))
    client.async_infer("absent", given(x), lambda result, error: done.put((result, error)))
    result, error = done.get(timeout=20)
    show("async failure", [result is None, error.status()])

    client.start_stream(callback=lambda result, error: done.put((result, error)))
    for number in range(5):
        client.async_stream_infer(model, given(x[:1]), request_id=str(number))
    client.async_stream_infer(model, given(x[:1, :3]), request_id="bad")
    client.stop_stream()
    for _ in range(5):
        result, error = done.get(timeout=20)
        show("stream", [answers(result), error is None])
    result, error = done.get(timeout=20)
    show("stream failure", [result is None, error.status(), error.message()])

    failing("unknown model", lambda: client.infer("absent", given(x)))
    failing("unknown version", lambda: client.infer(model, given(x), model_version="99"))
    failing("another width", lambda: client.infer(model, given(x[:, :3])))
    failing("another type", lambda: client.infer(model, given(x.astype(np.int32), "INT32")))
    failing("sequence", lambda: client.infer(model, given(x), sequence_id=3))
    failing("no version", lambda: client.get_model_config(model, 7))
    failing("wrong dtype", lambda: given(x, "INT64"))
    failing("wrong shape", lambda: grpcclient.InferInput("x", [9], "FP32").set_data_from_numpy(x))
    reserved = {"triton_x": 1}
    failing("reserved", lambda: client.infer(model, given(x), parameters=reserved))
    failing("no stream", lambda: client.async_stream_infer(model, given(x)))

    statistics = client.get_inference_statistics(model, as_json=True)
    show("statistics", without_times(statistics))
    client.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
