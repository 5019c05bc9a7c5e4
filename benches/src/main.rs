fn main(){ let _ = tidegate::Bus::open("x"); }
