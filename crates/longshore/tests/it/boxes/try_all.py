import threading, struct, time
PROXY = ('127.0.0.1', 13128)
def said(one, what):
    one.settimeout(8)
    one.sendall(what)
    answer = b''
    try:
        while len(answer) < 10000:
            part = one.recv(10000)
            if not part: break
            answer += part
    except OSError: pass
    return answer
def through_proxy(before, target, port):
    one = socket.create_connection(PROXY, 3)
    return before(one, target, port)
def plain(target):
    return target.strip('[]')
def http(one, target, port):
    return said(one, f'GET http://{target}:{port}/ HTTP/1.1\r\nHost: {target}:{port}\r\nConnection: close\r\n\r\n'.encode())
def http_as_allowed(one, target, port):
    return said(one, f'GET http://{target}:{port}/ HTTP/1.1\r\nHost: 198.51.100.7\r\nConnection: close\r\n\r\n'.encode())
def connect(one, target, port):
    one.sendall(f'CONNECT {target}:{port} HTTP/1.1\r\nHost: 198.51.100.7\r\n\r\n'.encode())
    one.settimeout(8)
    answer = one.recv(10000)
    return said(one, b'GET / HTTP/1.0\r\n\r\n') if b' 200' in answer.split(b'\r\n')[0] else answer
def socks5(one, target, port):
    one.settimeout(8)
    one.sendall(b'\x05\x01\x00'); one.recv(2)
    name = plain(target)
    try:
        address = b'\x04' + socket.inet_pton(socket.AF_INET6, name) if ':' in name else b'\x01' + socket.inet_pton(socket.AF_INET, name)
    except OSError: address = b'\x03' + bytes([len(name)]) + name.encode()
    one.sendall(b'\x05\x01\x00' + address + struct.pack('>H', port))
    answer = one.recv(100)
    return said(one, b'GET / HTTP/1.0\r\n\r\n') if answer[1:2] == b'\0' else answer
def socks5_name(one, target, port):
    one.settimeout(8)
    one.sendall(b'\x05\x01\x00'); one.recv(2)
    one.sendall(b'\x05\x01\x00\x03' + bytes([len(target)]) + target.encode() + struct.pack('>H', port))
    answer = one.recv(100)
    return said(one, b'GET / HTTP/1.0\r\n\r\n') if answer[1:2] == b'\0' else answer
def socks5_udp(one, target, port):
    one.settimeout(8)
    one.sendall(b'\x05\x01\x00'); one.recv(2)
    one.sendall(b'\x05\x03\x00\x01\0\0\0\0\0\0')
    return one.recv(100)
def socks4(one, target, port):
    return said(one, b'\x04\x01' + struct.pack('>H', port) + (b'\0\0\0\x01x\0' + plain(target).encode() + b'\0'))
def tcp(target, port):
    one = socket.create_connection((plain(target), port), 3)
    return said(one, b'GET / HTTP/1.0\r\n\r\n') or b'reached: it was open'
def udp(target, port):
    family = socket.AF_INET6 if ':' in target else socket.AF_INET
    one = socket.socket(family, socket.SOCK_DGRAM)
    one.settimeout(2)
    one.sendto(b'x', (plain(target), port))
    return one.recv(100)
def curl(target, port):
    import subprocess
    answers = b''
    for scheme in ['http', 'https']:
        answers += subprocess.run(['curl', '-sS', '-k', '-m', '8', f'{scheme}://{target}:{port}/'], capture_output=True).stdout
    return answers
WAYS = {'tcp': tcp, 'udp': udp, 'curl': curl} | {way.__name__: (lambda way: lambda target, port: through_proxy(way, target, port))(way)
    for way in [http, http_as_allowed, connect, socks5, socks5_name, socks5_udp, socks4]}
def attempt(name, way, target, port):
    try: answer = way(target, port)
    except (OSError, UnicodeError) as error: answer = str(error).encode()
    # `reached` is what whoever is out there says.
    if b'reached' in answer: print('BROKEN', name, target, port, answer, flush=True)
    else: print('kept in:', name, target, port, answer[-60:], flush=True)
def attempts(targets):
    threads = [threading.Thread(target=attempt, args=(name, way, target, port)) for target, port in targets for name, way in WAYS.items()]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print('tried', len(threads))
