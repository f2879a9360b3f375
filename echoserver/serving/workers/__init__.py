"""Workers mode: a poller, a ready queue, and a few worker threads.

What belongs to whom. The table of connections belongs to the poller thread: it alone adds, finds, removes and closes
them. Other threads talk to it through queues (`_arrivals`, `_returned`, `_woken`) and a waker. A connection on the
ready queue is disarmed in the epoll set (`EPOLLONESHOT`), so it is there once at most. It belongs to the worker that
takes it off until that worker gives it back. One that pauses for its rate limit belongs to the poller, which keeps it
disarmed in a heap of due times and polls no longer than until the first of them.

The interleavings to survive:

* An event for a connection that has ended. Epoll hands out events in batches, and a connection may end while a later
  event of the same batch still names its descriptor. The poller removes it from the table when it ends, so the late
  event finds nothing.
* A descriptor number used again. New connections are added between batches only, so within a batch a number means one
  connection. A socket leaves the epoll set before it is closed, so no event of the old one can follow.
* Another thread ends a connection (the janitor, a drain) while a worker serves it. That only shuts the socket down; the
  poller alone closes it, after the worker has given it back. A socket shut down while disarmed reports so as soon as it
  is armed.
* Another thread ends a connection that pauses. It wakes the connection after asking it to end; the poller looks for a
  request to end after letting a connection pause. Whichever comes second sees the other.
* A stop while every worker is held by its handler. The poller waits for no place, serves what no worker holds to its
  end, and ends. A worker that returns later finds it gone and ends its connection itself; a lock decides which of the
  two does.
* A handler closes the descriptor of another connection, and the number is given to a new one. The new connection takes
  the place in the table, and the old one, of which epoll would never tell, is ended without closing the number again.
"""
