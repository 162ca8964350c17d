use quickcheck::quickcheck;

use super::{Limits, ProtocolError, Request, RequestReader};

/// Every request in `input`, fed in pieces that end at `cuts`, and the error that ended it.
fn read(input: &[u8], cuts: &[usize], limits: &Limits) -> (Vec<Request>, Option<ProtocolError>) {
    let (mut reader, mut request, mut requests) = (RequestReader::new(), Request::new(), Vec::new());
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).chain([input.len()]).collect();
    cuts.sort_unstable();
    let mut start = 0;
    for end in cuts {
        reader.feed(&input[start..end]);
        start = end;
        loop {
            match reader.next(limits, &mut request) {
                Ok(true) => requests.push(request.clone()),
                Ok(false) => break,
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

fn args(requests: &[Request]) -> Vec<Vec<String>> {
    requests.iter().map(|r| r.args().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()).collect()
}

fn check(input: &[u8], expected: &[&[&str]]) {
    let (requests, error) = read(input, &[], &Limits::default());
    assert_eq!(args(&requests), expected, "{:?}", String::from_utf8_lossy(input));
    assert_eq!(error, None);
}

fn check_error(input: &[u8], limits: &Limits, expected: &str) {
    let (requests, error) = read(input, &[], limits);
    assert_eq!(error.map(|e| e.to_string()).as_deref(), Some(expected), "{requests:?}");
}

#[test]
fn arrays_and_inline_commands() {
    check(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n", &[&["GET", "a"]]);
    check(b"*1\r\n$4\r\nPING\r\nPING\r\n*1\r\n$4\r\nPING\r\n", &[&["PING"], &["PING"], &["PING"]]);
    check(b"PING\n  \r\n\r\nSET a 'b c'\r\n", &[&["PING"], &["SET", "a", "b c"]]);
    check(b"*0\r\n*-1\r\n*-5\r\nPING\r\n", &[&["PING"]]);
    check(b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", &[&["ECHO", ""]]);
    check(b"*1\r\n$4\r\nPI", &[]);
    check(b"*1\r\n$12\r\nabcdefghijkl\r\n", &[&["abcdefghijkl"]]);
}

#[test]
fn the_log_gets_canonical_bytes_whatever_line_ends_were_sent() {
    for input in
        [&b"*2\rX$4\rYECHOzz$1\r\na\r\n"[..], b"ECHO a\r\n", b"ECHO \"a\"\n", b"*2\r\n$4\r\nECHO\r\n$1\r\na\r\n"]
    {
        let (requests, _) = read(input, &[], &Limits::default());
        assert_eq!(requests[0].resp_bytes(), Some(&b"*2\r\n$4\r\nECHO\r\n$1\r\na\r\n"[..]));
        assert_eq!(args(&requests), [["ECHO", "a"]]);
    }
}

#[test]
fn texts_of_protocol_errors() {
    let open = Limits::default();
    for (input, text) in [
        (&b"*2147483648\r\n"[..], "Protocol error: invalid multibulk length"),
        (b"*x\r\n", "Protocol error: invalid multibulk length"),
        (b"*\r\n", "Protocol error: invalid multibulk length"),
        (b"*01\r\n", "Protocol error: invalid multibulk length"),
        (b"*+1\r\n", "Protocol error: invalid multibulk length"),
        (b"*99999999999999999999\r\n", "Protocol error: invalid multibulk length"),
        (b"*1\r\n+PING\r\n", "Protocol error: expected '$', got '+'"),
        (b"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$x\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "Protocol error: invalid bulk length"),
        (b"SET a \"b\r\n", "Protocol error: unbalanced quotes in request"),
    ] {
        check_error(input, &open, text);
    }
    let long = vec![b'1'; 66_000];
    check_error(&[&b"*"[..], &long].concat(), &open, "Protocol error: too big mbulk count string");
    check_error(&[&b"*1\r\n$"[..], &long].concat(), &open, "Protocol error: too big bulk count string");
    check_error(&long, &open, "Protocol error: too big inline request");
    let closed = Limits { unauthenticated: true, ..open };
    check_error(b"*11\r\n", &closed, "Protocol error: unauthenticated multibulk length");
    check_error(b"*1\r\n$16385\r\n", &closed, "Protocol error: unauthenticated bulk length");
}

#[test]
fn announced_lengths_claim_no_memory() {
    let mut reader = RequestReader::new();
    reader.feed(b"*2147483647\r\n$536870912\r\nabc");
    assert_eq!(reader.next(&Limits::default(), &mut Request::new()), Ok(false));
    assert_eq!(reader.long().map(|(_, room)| room), Some((64 << 10) - 3));
    assert!(reader.heap_bytes() < 4 << 20);
}

#[test]
fn a_big_request_is_handed_over_and_the_reader_goes_on() {
    let value = vec![b'v'; 100_000];
    let set = Request::from_args(&[&b"SET"[..], b"k", &value]);
    let (mut reader, mut request) = (RequestReader::new(), Request::new());
    for _ in 0..3 {
        reader.feed(set.resp_bytes().expect("encoded in one piece"));
        assert_eq!(reader.next(&Limits::default(), &mut request), Ok(true));
        assert_eq!(request, set);
        assert_eq!((request.blocks().len(), request.resp_bytes()), (1, None));
        assert_eq!(reader.pending_bytes(), 0);
        assert_eq!(reader.next(&Limits::default(), &mut request), Ok(false));
    }
}

/// Requests with long arguments, fed in any cut and through the argument's own buffer, with line ends of any kind.
#[test]
fn long_arguments_have_blocks_whatever_the_cut() {
    let long = |byte: u8, len: usize| vec![byte; len];
    let min = crate::resp::RUN_BYTES_MIN;
    let commands = [
        vec![b"SET".to_vec(), b"k".to_vec(), long(b'a', min), b"EX".to_vec(), b"10".to_vec()],
        vec![b"MSET".to_vec(), b"k".to_vec(), long(b'b', min - 1), b"l".to_vec(), long(b'c', 3 * min)],
        vec![b"GET".to_vec(), b"k".to_vec()],
        vec![long(b'd', min), long(b'e', 80_000)],
    ];
    let sent: Vec<Request> = commands.iter().map(|command| Request::from_args(command)).collect();
    let input: Vec<u8> = sent.iter().filter_map(Request::resp_bytes).flatten().copied().collect();
    for step in [1, 7, 1000, 16 << 10, 64 << 10, input.len()] {
        let cuts: Vec<usize> = (0..input.len()).step_by(step).collect();
        let (requests, error) = read(&input, &cuts, &Limits::default());
        assert_eq!((requests.len(), error), (4, None));
        assert!(requests == sent, "in steps of {step}");
        assert_eq!(requests.iter().map(|r| r.blocks().len()).collect::<Vec<_>>(), [1, 1, 0, 2]);
    }
    let (mut reader, mut request, mut at) = (RequestReader::new(), Request::new(), 0);
    let mut requests = Vec::new();
    while at < input.len() {
        let taken = match reader.long() {
            Some((bytes, room)) => {
                bytes.extend_from_slice(&input[at..at + room]);
                room
            }
            None => {
                reader.feed(&input[at..input.len().min(at + 100)]);
                100.min(input.len() - at)
            }
        };
        at += taken;
        while reader.next(&Limits::default(), &mut request) == Ok(true) {
            requests.push(request.clone());
        }
    }
    assert!(requests == sent);
    let odd = [&b"*2\rX$4\rYECHOzz$40000\r\n"[..], &long(b'x', 40_000), b"zz"].concat();
    let (requests, _) = read(&odd, &[100], &Limits::default());
    assert!(requests == [Request::from_args(&[&b"ECHO"[..], &long(b'x', 40_000)])]);
}

quickcheck! {
    fn requests_survive_any_cut(commands: Vec<Vec<Vec<u8>>>, cuts: Vec<usize>) -> bool {
        let sent: Vec<Request> = commands.iter().filter(|c| !c.is_empty()).map(|c| Request::from_args(c)).collect();
        let input: Vec<u8> = sent.iter().filter_map(Request::resp_bytes).flatten().copied().collect();
        read(&input, &cuts, &Limits::default()) == (sent, None)
    }

    fn any_bytes_read_the_same_whatever_the_cut(picks: Vec<u8>, cuts: Vec<usize>) -> bool {
        const PIECES: [&[u8]; 16] = [
            b"*", b"$", b"1", b"2", b"0", b"\r\n", b"\r", b"\n", b"-", b"a", b"\"", b"'", b" ", b"PING\r\n",
            b"*1\r\n$4\r\nPING\r\n", b"*2\r\n$1\r\na\r\n",
        ];
        let input: Vec<u8> = picks.iter().flat_map(|pick| PIECES[usize::from(*pick) % 16].to_vec()).collect();
        read(&input, &cuts, &Limits::default()) == read(&input, &[], &Limits::default())
    }
}
