"""A real Kubernetes on this machine: control plane, nodes with accelerators, and pods that kwok plays.

from flyball.sandbox.cluster import Options, Sandbox
with Sandbox.start(Options(fleet=read_fleet(path), cold_start=5.0, parts=("prometheus",))) as sandbox:
    lightkube.Client(KubeConfig.from_file(sandbox.kubeconfig)); sandbox.kill("kube-apiserver")
"""
