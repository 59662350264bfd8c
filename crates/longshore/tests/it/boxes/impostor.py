import os, socket, sys, time
path = '/.longshore/run/boxd.sock'
os.remove(path)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(100)
print('listens', flush=True)
os.close(1); os.close(2)
while True:
    one, _ = listener.accept()
    if os.fork(): continue
    try:
        if sys.argv[1] == 'floods':
            while True: one.sendall(b'\0' * 1000000)
        if sys.argv[1] == 'greets':
            one.sendall(b'longshore boxd 1\n' * 100000)
            while one.recv(1000000): pass
        if sys.argv[1] == 'listens':
            while one.recv(1000000): pass
        if sys.argv[1] == 'hangs':
            time.sleep(1000)
    except OSError: pass
    os._exit(0)
