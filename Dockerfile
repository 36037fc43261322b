# The testbed in a container: `docker build -t testbed .`; what it needs to run is in docs/virtual-machine.md.
FROM debian:bookworm-slim
WORKDIR /testbed
# packages and Python's libraries first: they change less often than the code
COPY setup.cfg pyproject.toml README.md ./
COPY scripts/setup scripts/setup
COPY testbed/__init__.py testbed/__init__.py
RUN scripts/setup && rm -rf /var/lib/apt/lists/*
COPY . .
RUN ln -s /testbed/.venv/bin/testbed /usr/local/bin/testbed
ENTRYPOINT ["testbed"]
CMD ["doctor"]
