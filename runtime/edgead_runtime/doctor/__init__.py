"""What this machine can do, what is in the way, and what to install: ``edgead-runtime doctor``.

``probe`` runs a tiny graph in one engine, in a process of its own; ``machine`` collects facts;
``findings`` judges them; ``report`` says it in words.
"""
