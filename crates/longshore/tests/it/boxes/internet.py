import socket, sys, threading
log = open(sys.argv[1], 'a', buffering=1)
def tcp(family, port):
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6: listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(('', port))
    listener.listen(1000)
    while True:
        one, _ = listener.accept()
        threading.Thread(target=answer, args=(one,), daemon=True).start()
def answer(one):
    name, port = one.getsockname()[:2]
    log.write(f'tcp {name} {port}\n')
    try:
        one.settimeout(10)
        request = one.recv(65536)
        place = 'http://198.51.100.8/' if b'/moved' in request else 'none'
        status = '302 Found' if b'/moved' in request else '200 OK'
        said = f'reached {name} {port}\n'
        one.sendall(f'HTTP/1.1 {status}\r\nLocation: {place}\r\nContent-Length: {len(said)}\r\nConnection: close\r\n\r\n{said}'.encode())
        one.close()
    except OSError: pass
def udp(family, port):
    listener = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6: listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(('', port))
    while True:
        said, who = listener.recvfrom(65536)
        log.write(f'udp {port}\n')
        listener.sendto(b'reached ' + said, who)
for family in [socket.AF_INET, socket.AF_INET6]:
    for port in [53, 80, 443, 8080]: threading.Thread(target=tcp, args=(family, port), daemon=True).start()
    for port in [53, 8080]: threading.Thread(target=udp, args=(family, port), daemon=True).start()
threading.Event().wait()
