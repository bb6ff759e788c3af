"""A policy's mean action as an ONNX model: float32 "obs" [batch, d] -> "action" [batch, m].

It is five kinds of nodes at most, so they are written as they are; a converter that traces would bring many packages.
"""

import json
from pathlib import Path

from offline_mbrl.errors import UserError
from offline_mbrl.nn.plain import Policy
from offline_mbrl.storage.files import write_atomically

OPSET, IR_VERSION = 17, 8
"""Of 2022: what reads ONNX reads these."""


def write_onnx(policy: Policy, path: Path) -> Path:
    """Writes the model and returns the path.

    Raises:
      UserError: the package onnx is not there.
    """
    try:
        from onnx import TensorProto, checker, helper, numpy_helper
    except ImportError as error:
        raise UserError("ONNX files need the package onnx; pip install 'offline-mbrl[onnx]'") from error
    actor, nodes, weights, x = policy.actor, [], [], "obs"
    for number, (kernel, bias) in enumerate(actor.layers):
        last = number == len(actor.layers) - 1
        if last:  # the mean's columns alone
            kernel, bias = kernel[:, : actor.action_dim], bias[: actor.action_dim]
        names = f"kernel_{number}", f"bias_{number}"
        weights += [numpy_helper.from_array(part, name) for part, name in zip((kernel, bias), names, strict=True)]
        nodes.append(helper.make_node("Gemm", [x, *names], [f"linear_{number}"]))
        x = "action" if last else f"hidden_{number}"
        nodes.append(helper.make_node("Tanh" if last else "Relu", [f"linear_{number}"], [x]))
    graph = helper.make_graph(
        nodes,
        "policy",
        [helper.make_tensor_value_info("obs", TensorProto.FLOAT, ["batch", actor.obs_dim])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", actor.action_dim])],
        weights,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="offline-mbrl"
    )
    helper.set_model_props(model, {"about": json.dumps(dict(policy.about))})
    checker.check_model(model)
    with write_atomically(path) as file:
        file.write(model.SerializeToString())
    return path
