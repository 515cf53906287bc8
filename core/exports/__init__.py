"""Taking an adapter elsewhere: as a zip, merged into its base, as GGUF, to a hub; and the commands that serve it.

`plan` finds the base and says what an export takes; `merging` makes a model of base and adapter, in a process of its
own (`merge_process`), and `agreement` shows that it answers as the adapter does; `adapter_zip` and `model_card` make
what is given away, `plain_lora` says which adapters others take as they are, `llama_cpp` and `ollama` what llama.cpp
and Ollama need, `serving_commands` what others serve it with; `push` brings files to a hub. `desk` runs one of these at
a time and says how far it is, `work` is what it runs. An adapter's way in is `core.adapters.intake`.
"""
