"""Models as users have them: Hugging Face folders. Read config.py, then tensors.py.

home.py finds the folder that a name means; config.py reads its sizes; tensors.py its weights; smollm2.py makes such
a folder out of a package, with what gguf_llama.py reads. Nothing here runs code that came with a model: weights are
safetensors, configurations JSON, and what is asked for beyond that is refused by name.

home.py and config.py work without torch.
"""
