"""In an environment with the runtime's wheel and no extra, importing it says what to install."""

try:
    import edgead_runtime  # noqa: F401
except Exception as error:  # noqa: BLE001  (its type cannot be imported)
    message = str(error)
    assert 'pip install "edgead-runtime[cpu]"' in message, message
    print("as it should:", message)
else:
    raise SystemExit("edgead_runtime imported without OpenCV and an engine")
