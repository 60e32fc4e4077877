"""A mail server of one conversation that changes to TLS when it is asked to, with Python's own TLS.

Takes a folder: writes ca.pem there, whose certificate the server's is signed with, and prints its port. Then, as JSON,
what it was told before TLS and in it. With "plain" behind the folder it doesn't offer STARTTLS.
"""

import datetime
import ipaddress
import json
import pathlib
import socket
import ssl
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def certificates(folder):
    day, now = datetime.timedelta(days=1), datetime.datetime.now(datetime.timezone.utc)

    def made(name, key, issuer, issuer_key, *extensions):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + 30 * day)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(issuer_key, hashes.SHA256())

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = made("Test root", root_key, None, root_key, (x509.BasicConstraints(ca=True, path_length=None), True))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = made(
        "localhost", key, root.subject, root_key, (names, False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(root.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(private + server.public_bytes(pem))


def talk(stream, told, greet, secure):
    """Answers until the client goes, or until it asks for TLS: then true."""
    lines = stream.makefile("rb")

    def say(text):
        stream.sendall(text.encode() + b"\r\n")

    if greet:
        say("220 mail.example ready")
    in_data = False
    while line := lines.readline():
        line = line.decode().rstrip("\r\n")
        told.append(line)
        if in_data:
            if line == ".":
                in_data = False
                say("250 queued")
        elif line == "DATA":
            in_data = True
            say("354 go on")
        elif line == "STARTTLS":
            if secure:
                say("220 go ahead")
                return True
            say("502 not implemented")
        elif line == "QUIT":
            say("221 bye")
            return False
        elif line.startswith("EHLO"):
            say("250-mail.example\r\n250 " + ("STARTTLS" if secure else "AUTH PLAIN"))
        elif line.startswith("AUTH"):
            say("235 welcome")
        else:
            say("250 ok")
    return False


def main():
    folder = pathlib.Path(sys.argv[1])
    certificates(folder)
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    listener.settimeout(60)
    stream, _ = listener.accept()
    stream.settimeout(30)
    before, within = [], []
    error = None
    try:
        if talk(stream, before, True, "plain" not in sys.argv[2:]):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder / "server.pem")
            talk(context.wrap_socket(stream, server_side=True), within, False, True)
    except OSError as failure:
        error = str(failure)
    print(json.dumps({"before": before, "within": within, "error": error}))


main()
