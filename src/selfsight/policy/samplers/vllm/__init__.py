"""Sampling by vLLM: a sampler, the engines it may draw from, and what passes between them.

    sampler.py     VllmSampler, behind the `Sampler` protocol
    engine.py      what a sampler asks of an engine; no vLLM in it
    joining.py     every sample once, whatever fails on the way; no vLLM in it
    seeds.py       one seed for each sample
    agreement.py   the engine's log-probs against the learner's, for every new shape of image
    adapters.py    LoRA adapters as peft writes them, and which can be served
    options.py     an engine's settings as vLLM wants them, and where vLLM must be installed
    inputs.py      our token ids and pixels as the engine's own input
    banned.py      placeholder tokens without probability, inside the engine
    in_process.py  the engine in this process
    server.py      the engine as `vllm serve` on loopback, started by us
    serve.py       the program of that server's process

docs/vllm.md says what is exact and what was tested where.
"""
